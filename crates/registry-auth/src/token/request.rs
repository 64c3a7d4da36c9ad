//! A request to the token endpoint: the query of a GET (distribution `docs/spec/auth/token.md`), or the form
//! of a POST (`docs/spec/auth/oauth.md`).
//!
//! Called by the nginx module. Guarantee: a parameter that is there twice, or a grant type that is unknown,
//! is refused.

use crate::denial::Denial;
use crate::name::UserName;
use crate::resource::Resource;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The largest number of resource scopes of a request.
const MAX_SCOPES: usize = 64;

/// A request for a token.
pub struct TokenRequest {
    /// The user that the client says it is.
    account: Option<String>,
    scopes: Vec<String>,
    /// Whether the client wants a refresh token too.
    pub is_offline: bool,
    /// How the client proves who it is.
    pub authorization: Authorization,
}

/// How the client proves who it is.
pub enum Authorization {
    /// By the `Authorization` header of the request, or not at all.
    Header,
    /// By user and password in the form, here as the value of a Basic `Authorization` header.
    Basic(Zeroizing<Vec<u8>>),
    /// By a refresh token in the form, here as the value of a Bearer `Authorization` header.
    Refresh(Zeroizing<Vec<u8>>),
}

/// The parameters that are read, each at most once.
#[derive(Default)]
struct Fields {
    service: Option<String>,
    account: Option<String>,
    offline_token: Option<String>,
    access_type: Option<String>,
    grant_type: Option<String>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    refresh_token: Option<Zeroizing<String>>,
    scopes: Vec<String>,
}

impl Fields {
    fn read(text: &[u8]) -> Result<Self, Denial> {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(text) {
            let value = value.into_owned();
            let is_first = match &*name {
                "service" => fields.service.replace(value).is_none(),
                "account" => fields.account.replace(value).is_none(),
                "offline_token" => fields.offline_token.replace(value).is_none(),
                "access_type" => fields.access_type.replace(value).is_none(),
                "grant_type" => fields.grant_type.replace(value).is_none(),
                "username" => fields.username.replace(value).is_none(),
                "password" => fields.password.replace(value.into()).is_none(),
                "refresh_token" => fields.refresh_token.replace(value.into()).is_none(),
                "scope" => {
                    fields
                        .scopes
                        .extend(value.split_ascii_whitespace().map(str::to_owned));
                    true
                }
                // Clients send other parameters, such as their name, which are ignored.
                _ => true,
            };
            if !is_first {
                return Err(Denial::bad_token_request("a parameter is there twice"));
            }
        }
        if fields.scopes.len() > MAX_SCOPES {
            return Err(Denial::bad_token_request("more than 64 scopes"));
        }
        Ok(fields)
    }

    fn check_service(&self, service: &str) -> Result<(), Denial> {
        match self.service.as_deref() {
            // Old clients leave it out if the challenge has none.
            None | Some("") => Ok(()),
            // Some clients repeat the challenge in lower case.
            Some(asked) if asked.eq_ignore_ascii_case(service) => Ok(()),
            Some(_) => Err(Denial::bad_token_request("unknown service")),
        }
    }

    fn into_request(self, authorization: Authorization) -> TokenRequest {
        let is_offline =
            self.offline_token.as_deref() == Some("true") || self.access_type.as_deref() == Some("offline");
        TokenRequest {
            account: self.account.filter(|account| !account.is_empty()),
            scopes: self.scopes,
            is_offline,
            authorization,
        }
    }
}

impl TokenRequest {
    /// Reads the query of a GET to the endpoint of a service.
    ///
    /// # Errors
    /// 400 for what is not a request for a token of this service.
    pub fn from_query(query: &[u8], service: &str) -> Result<Self, Denial> {
        let fields = Fields::read(query)?;
        fields.check_service(service)?;
        Ok(fields.into_request(Authorization::Header))
    }

    /// Reads the form of a POST to the endpoint of a service.
    ///
    /// # Errors
    /// 400 for what is not a request for a token of this service; 401 for a user name that is illegal.
    pub fn from_form(content_type: &[u8], body: &[u8], service: &str) -> Result<Self, Denial> {
        let kind = content_type
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        if !kind
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        {
            return Err(Denial::bad_token_request("a form is expected"));
        }
        let mut fields = Fields::read(body)?;
        fields.check_service(service)?;
        let (username, password) = (fields.username.take(), fields.password.take());
        let authorization = match (fields.grant_type.as_deref(), fields.refresh_token.take()) {
            (Some("password"), None) => basic(&username.unwrap_or_default(), &password.unwrap_or_default())?,
            (Some("refresh_token"), Some(token)) => {
                let mut header = Zeroizing::new(b"Bearer ".to_vec());
                header.extend_from_slice(token.as_bytes());
                Authorization::Refresh(header)
            }
            _ => {
                return Err(Denial::bad_token_request(
                    "grant_type must be password or refresh_token",
                ));
            }
        };
        Ok(fields.into_request(authorization))
    }

    /// The resources that are asked for, without those that no user can have a right to.
    pub fn resources(&self) -> Vec<Resource<'_>> {
        self.scopes
            .iter()
            .filter_map(|scope| Resource::parse(scope))
            .collect()
    }

    /// Checks that the client has proven to be the user that it says it is.
    ///
    /// # Errors
    /// 400 where it has not.
    pub fn check_account(&self, user: Option<UserName<'_>>) -> Result<(), Denial> {
        match (self.account.as_deref(), user) {
            (Some(account), Some(user)) if account != user.as_str() => {
                Err(Denial::bad_token_request("account is not the user"))
            }
            _ => Ok(()),
        }
    }
}

/// User and password as a header. Whatever a header cannot carry is a wrong password.
fn basic(user: &str, password: &str) -> Result<Authorization, Denial> {
    // With a colon in the name, the header would have another name.
    UserName::parse(user.as_bytes()).map_err(|_| Denial::bad_credentials())?;
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let mut header = Zeroizing::new(String::with_capacity(8 + pair.len().div_ceil(3) * 4));
    header.push_str("Basic ");
    STANDARD.encode_string(pair.as_bytes(), &mut header);
    Ok(Authorization::Basic(Zeroizing::new(
        std::mem::take(&mut *header).into_bytes(),
    )))
}
