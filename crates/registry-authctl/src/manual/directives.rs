//! nginx-registry-auth(5): the directives and the variables, as docs/reference/ has them.
//!
//! Made from the pages themselves, so that neither says something else. Whatever Markdown they come to use,
//! each text of them is in the manual: what has no form here is a paragraph.

use super::tool::{DATE, wrap};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Each section of the manual, and the page that it is made of.
const SECTIONS: [(&str, &str); 2] = [
    (
        "DIRECTIVES",
        include_str!("../../../../docs/reference/directives.md"),
    ),
    (
        "VARIABLES",
        include_str!("../../../../docs/reference/variables.md"),
    ),
];

const HEAD: &str = r"
.SH NAME
nginx\-registry\-auth \- directives of the nginx module that gates container
registries
.SH SYNOPSIS
\fBload_module modules/ngx_http_registry_auth_module.so;\fR
.SH DESCRIPTION
The module decides for each request to a Docker or OCI registry whether its
user may do what it asks for.
Users, groups, grants and backends are in Redis, where
.BR registry\-authctl (1)
manages them.
";

const TAIL: &str = r"
.SH SEE ALSO
.BR registry\-authctl (1),
.BR nginx (8)
";

/// The page.
pub(crate) fn directives() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = Page {
        roff: format!(
            ".TH NGINX\\-REGISTRY\\-AUTH 5 {DATE} \"registry\\-authctl {version}\" \"nginx registry auth\"\n"
        ),
        ..Page::default()
    };
    page.roff.push_str(HEAD.trim_start());
    for (name, markdown) in SECTIONS {
        page.roff.push_str(&format!(".SH {name}\n"));
        page.close = true;
        for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
            page.add(event);
        }
    }
    page.roff.push_str(TAIL.trim_start());
    page.roff
}

#[derive(Default)]
struct Page {
    roff: String,
    /// Of the paragraph, heading or cell that is being read.
    text: String,
    code: bool,
    table_head: bool,
    cells: Vec<String>,
    /// The next paragraph needs no distance.
    close: bool,
    items: usize,
}

impl Page {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::Heading { .. }) => self.text.clear(),
            Event::End(TagEnd::Heading(level)) => self.head(level),
            Event::Start(Tag::CodeBlock(_)) => {
                self.code = true;
                self.request(".PP");
                self.roff.push_str(".RS 4\n.nf\n");
            }
            Event::End(TagEnd::CodeBlock) => {
                self.code = false;
                self.roff.push_str(".fi\n.RE\n");
            }
            Event::Start(Tag::TableHead) => self.table_head = true,
            Event::End(TagEnd::TableHead) => {
                self.table_head = false;
                self.cells.clear();
            }
            Event::End(TagEnd::TableCell) => self.cells.push(std::mem::take(&mut self.text)),
            Event::End(TagEnd::TableRow) => self.row(),
            Event::Start(Tag::Item) => {
                self.flush();
                self.items += 1;
                self.roff.push_str(".IP \\(bu 2\n");
                self.close = true;
            }
            Event::End(TagEnd::Item) => {
                self.flush();
                self.items -= 1;
            }
            Event::Start(Tag::Strong | Tag::Emphasis) => self.text.push_str("\\fB"),
            Event::End(TagEnd::Strong | TagEnd::Emphasis) => self.text.push_str("\\fR"),
            Event::End(TagEnd::Paragraph) => self.flush(),
            Event::Text(text) if self.code => {
                for line in text.lines().filter(|line| !line.is_empty()) {
                    self.roff.push_str(&literal(line));
                    self.roff.push('\n');
                }
            }
            Event::Text(text) => self.text.push_str(&escape(&text)),
            Event::Code(text) => self.text.push_str(&format!("\\fB{}\\fR", escape(&text))),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            _ => {}
        }
    }

    /// The title of a Markdown page is that of the manual's section, which is there already.
    fn head(&mut self, level: HeadingLevel) {
        let title = std::mem::take(&mut self.text);
        if level != HeadingLevel::H1 {
            self.roff.push_str(&format!(".SS {title}\n"));
            self.close = true;
        }
    }

    fn row(&mut self) {
        let mut cells = std::mem::take(&mut self.cells).into_iter();
        let tag = cells.next().unwrap_or_default();
        self.roff.push_str(&format!(".TP\n{tag}\n"));
        let rest: Vec<String> = cells.filter(|cell| !cell.is_empty()).collect();
        self.lines(&rest.join("; "));
        // What follows the table is no part of its last row.
        self.close = false;
    }

    /// A request that makes a distance, where there is none yet.
    fn request(&mut self, request: &str) {
        if !std::mem::take(&mut self.close) {
            self.roff.push_str(request);
            self.roff.push('\n');
        }
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() {
            return;
        }
        self.request(if self.items > 0 { ".IP" } else { ".PP" });
        self.lines(&text);
    }

    fn lines(&mut self, text: &str) {
        for line in wrap(text) {
            self.roff.push_str(&line);
            self.roff.push('\n');
        }
    }
}

/// Text that roff takes as it is.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A line that begins like a request is none.
fn literal(line: &str) -> String {
    let escaped = escape(line);
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}
