//! The manual pages, from the definition of the command line, with what that does not know: examples,
//! environment, exit status.
//!
//! Used by `shell`, for `man`. Invariant: mandoc(1) finds nothing to complain about (tests/manual.rs).

use clap::Command;
use clap_mangen::Man;
use std::fmt::Write as _;

/// When the pages were last changed by hand.
pub(super) const DATE: &str = "2026-11-28";
/// Of a line of a page's source.
const WIDTH: usize = 78;

const ENVIRONMENT: &str = r"
.SH ENVIRONMENT
.TP
\fBREGISTRY_AUTH_REDIS\fR
Where Redis is, if not said by \fB\-\-redis\fR.
The place for a URL with a password: other users of the machine do not see
it.
Not to be set for a docker\-registry, which takes every REGISTRY_* variable
for a setting of its own.
.TP
\fBREGISTRY_AUTH_PREFIX\fR
What the keys begin with, if not said by \fB\-\-prefix\fR.
.TP
\fBNO_COLOR\fR
If set, nothing is coloured.
Without a terminal, nothing is, either.
";

const STATUS: &str = r"
.SH EXIT STATUS
.TP
\fB0\fR
Done, or allowed.
.TP
\fB1\fR
Refused, not found, something found by \fBcheck\fR, or Redis not reached.
.TP
\fB2\fR
Wrong usage; nothing was done.
.PP
A signal ends the tool as it ends others; each change is one transaction, so
that none is left in the middle.
";

/// The lines of EXAMPLES on the page of this command; of a command without verbs there is at least one.
fn examples(command: &str) -> &'static [&'static str] {
    match command {
        "registry-authctl" => &[
            "registry-authctl user add alice",
            "registry-authctl group add team",
            "registry-authctl group join team alice",
            "registry-authctl grant add @team 'team/**' pull,push",
            "registry-authctl token create alice --scope 'team/*:pull,push' --expires 30d",
            "registry-authctl backend set default 127.0.0.1:5001",
            "registry-authctl explain --user alice --action push team/app",
            "registry-authctl check",
        ],
        "registry-authctl-user" => &["registry-authctl user list"],
        "registry-authctl-user-add" => &[
            "registry-authctl user add alice",
            "printf %s \"$PASSWORD\" | registry-authctl user add ci --password-stdin",
        ],
        "registry-authctl-user-passwd" => &["registry-authctl user passwd alice"],
        "registry-authctl-user-list" => {
            &["registry-authctl user list --json | jq -r '.[] | select(.weak) | .user'"]
        }
        "registry-authctl-user-show" => &["registry-authctl user show alice"],
        "registry-authctl-user-lock" => &["registry-authctl user lock alice"],
        "registry-authctl-user-unlock" => &["registry-authctl user unlock alice"],
        "registry-authctl-user-rename" => &[
            "registry-authctl user rename alice alice-smith",
            "registry-authctl grant add alice-smith 'alice/**' '*'",
        ],
        "registry-authctl-user-remove" => &["registry-authctl user remove alice"],
        "registry-authctl-group" => &["registry-authctl group list"],
        "registry-authctl-group-add" => &["registry-authctl group add team"],
        "registry-authctl-group-list" => &["registry-authctl group list"],
        "registry-authctl-group-show" => &["registry-authctl group show team"],
        "registry-authctl-group-remove" => &["registry-authctl group remove team"],
        "registry-authctl-group-join" => &["registry-authctl group join team alice"],
        "registry-authctl-group-leave" => &["registry-authctl group leave team alice"],
        "registry-authctl-grant" => &["registry-authctl grant list public"],
        "registry-authctl-grant-add" => &[
            "registry-authctl grant add @team 'team/**' pull,push",
            "registry-authctl grant add public 'library/*' pull",
            "registry-authctl grant add alice '!alice/frozen/**' push,delete",
        ],
        "registry-authctl-grant-remove" => &["registry-authctl grant remove @team 'team/**' push"],
        "registry-authctl-grant-list" => &["registry-authctl grant list @team"],
        "registry-authctl-token" => &["registry-authctl token list --expiring 14d"],
        "registry-authctl-token-create" => &[
            "registry-authctl token create ci --scope 'team/*:pull,push' --note 'nightly build' >token",
            "docker login -u ci --password-stdin registry.example.com <token",
        ],
        "registry-authctl-token-list" => &[
            "registry-authctl token list alice",
            "registry-authctl token list --expiring 14d",
        ],
        "registry-authctl-token-find" => &["registry-authctl token find --revoke <leaked"],
        "registry-authctl-token-revoke" => &["registry-authctl token revoke ci 4f1e9a7c02"],
        "registry-authctl-backend" => &["registry-authctl backend list default"],
        "registry-authctl-backend-set" => &[
            "registry-authctl backend set default 127.0.0.1:5001",
            "registry-authctl backend set @team 10.0.0.5:5000 10.0.0.6:5000",
        ],
        "registry-authctl-backend-list" => &["registry-authctl backend list alice"],
        "registry-authctl-backend-clear" => &["registry-authctl backend clear alice"],
        "registry-authctl-explain" => &["registry-authctl explain --user alice --action push team/app"],
        "registry-authctl-check" => {
            &["registry-authctl check || mail -s 'registry users' root <<<'see registry-authctl check'"]
        }
        "registry-authctl-import-htpasswd" => &[
            "registry-authctl import-htpasswd /etc/nginx/htpasswd",
            "registry-authctl import-htpasswd /etc/nginx/htpasswd --apply",
        ],
        "registry-authctl-import-docker-auth" => &[
            "registry-authctl import-docker-auth auth_config.yml",
            "registry-authctl import-docker-auth auth_config.yml --apply",
        ],
        "registry-authctl-migrate" => &["registry-authctl migrate --apply"],
        "registry-authctl-completions" => &["source <(registry-authctl completions bash)"],
        "registry-authctl-man" => &["registry-authctl man /usr/local/share/man/man1"],
        _ => &[],
    }
}

/// The name of a command's page, and the page.
pub(crate) fn page(command: Command) -> std::io::Result<(String, String)> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let version = command
        .get_version()
        .unwrap_or(env!("CARGO_PKG_VERSION"))
        .to_owned();
    // Examples, environment and exit status have sections of their own here.
    let has_verbs = command.has_subcommands();
    let man = Man::new(command.after_long_help(None::<&str>).after_help(None::<&str>))
        .title(name.to_uppercase())
        .date(DATE)
        .source(format!("registry-authctl {version}"))
        .manual("nginx registry auth");
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if has_verbs {
        man.render_subcommands_section(&mut roff)?;
    }
    let mut page = tidy(&String::from_utf8_lossy(&roff));
    page.push_str(ENVIRONMENT.trim_start());
    page.push_str(STATUS.trim_start());
    page.push_str(".SH EXAMPLES\n.nf\n");
    for line in examples(&name) {
        // A roff of a line that begins so would take it for a request.
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq");
        let _infallible = writeln!(page, "{line}");
    }
    page.push_str(".fi\n.SH SEE ALSO\n");
    page.push_str(match name.as_str() {
        "registry-authctl" => ".BR nginx\\-registry\\-auth (5)\n",
        _ => ".BR registry\\-authctl (1),\n.BR nginx\\-registry\\-auth (5)\n",
    });
    Ok((name, page))
}

/// The page without empty and overlong lines, and without blanks at their ends. Which are harmless, but
/// mandoc(1) warns of them, and nobody would see what it warns of besides.
fn tidy(page: &str) -> String {
    let mut tidied = String::with_capacity(page.len());
    let mut before = "";
    // Each renderer defines the apostrophe anew.
    let (mut prologue, mut is_tag) = (true, false);
    for line in page.lines().map(str::trim_end) {
        let is_definition = line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds");
        prologue &= is_definition || line.starts_with(".TH") || line.is_empty();
        if line.is_empty() || is_definition && !prologue || line == ".br" && before == ".br" {
            continue;
        }
        let is_text = !line.starts_with(['.', '\'']);
        if is_text && !is_tag {
            for piece in wrap(line) {
                let _infallible = writeln!(tidied, "{piece}");
            }
        } else {
            let _infallible = writeln!(tidied, "{line}");
        }
        is_tag = line == ".TP";
        before = line;
    }
    tidied
}

/// Lines of at most [`WIDTH`], as far as there are blanks. None begins like a request.
pub(super) fn wrap(line: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(last) if last.len() + word.len() < WIDTH || word.starts_with(['.', '\'']) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
