//! `nacolet user|role|permission ...`: who may do what. An administrator may do all of it, and
//! everybody may change the own password.

use clap::{Subcommand, ValueEnum};
use serde_json::Value;
use surf::http::Method;

use super::client::Params;
use super::error::CliError;
use super::login::{NewPassword, ServerArgs};
use super::terminal::{print_json, print_line, print_table};

const USER: &str = "/nacos/v3/auth/user";
const ROLE: &str = "/nacos/v3/auth/role";
const PERMISSION: &str = "/nacos/v3/auth/permission";
/// Items of a page: the most that a node gives.
const PAGE_SIZE: usize = 500;

/// What can be done with users.
#[derive(Subcommand, Debug)]
pub(crate) enum UserVerb {
    /// List the users
    Ls {
        #[command(flatten)]
        server: ServerArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a user, who may do nothing yet
    Add {
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Give a user another password; everybody may do so with the own one
    Passwd {
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a user
    Rm {
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What can be done with roles.
#[derive(Subcommand, Debug)]
pub(crate) enum RoleVerb {
    /// List the roles and who has them
    Ls {
        #[command(flatten)]
        server: ServerArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a role to a user; ROLE_ADMIN makes an administrator
    Add {
        role: String,
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a role from a user; a role that nobody has loses its permissions
    Rm {
        role: String,
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What can be done with permissions.
#[derive(Subcommand, Debug)]
pub(crate) enum PermissionVerb {
    /// List what each role may do
    Ls {
        #[command(flatten)]
        server: ServerArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Permit a role something
    Add {
        role: String,
        /// NAMESPACE:GROUP:config/NAME or NAMESPACE:GROUP:naming/NAME, with * for any text
        resource: String,
        action: Action,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a permission from a role, named as it was given
    Rm {
        role: String,
        /// NAMESPACE:GROUP:config/NAME or NAMESPACE:GROUP:naming/NAME, with * for any text
        resource: String,
        action: Action,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What a role may do with a resource.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Read
    R,
    /// Write
    W,
    /// Read and write
    Rw,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::R => "r",
            Self::W => "w",
            Self::Rw => "rw",
        }
    }
}

/// Runs a verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_user(verb: UserVerb) -> Result<(), CliError> {
    match verb {
        UserVerb::Ls { server, json } => list(&server, USER, &[("username", "USER")], json).await,
        UserVerb::Add { name, password, server } => {
            let password = password.read()?;
            let params = [("username", name.as_str()), ("password", password.as_str())];
            change(&server, Method::Post, USER, &params).await?;
            print_line(&format!("{name} is a user"))
        }
        UserVerb::Passwd { name, password, server } => {
            let password = password.read()?;
            let params = [("username", name.as_str()), ("newPassword", password.as_str())];
            change(&server, Method::Put, USER, &params).await?;
            print_line(&format!("{name} has another password"))
        }
        UserVerb::Rm { name, server } => {
            remove(&server, USER, &[("username", &name)], "the user").await?;
            print_line(&format!("{name} is removed"))
        }
    }
}

/// Runs a verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_role(verb: RoleVerb) -> Result<(), CliError> {
    match verb {
        RoleVerb::Ls { server, json } => {
            list(&server, ROLE, &[("role", "ROLE"), ("username", "USER")], json).await
        }
        RoleVerb::Add { role, name, server } => {
            let params = [("role", role.as_str()), ("username", name.as_str())];
            change(&server, Method::Post, ROLE, &params).await?;
            print_line(&format!("{name} has the role {role}"))
        }
        RoleVerb::Rm { role, name, server } => {
            let params = [("role", role.as_str()), ("username", name.as_str())];
            remove(&server, ROLE, &params, "the role").await?;
            print_line(&format!("{name} no longer has the role {role}"))
        }
    }
}

/// Runs a verb to its end.
///
/// # Errors
/// See [`CliError`].
pub(crate) async fn run_permission(verb: PermissionVerb) -> Result<(), CliError> {
    match verb {
        PermissionVerb::Ls { server, json } => {
            let columns = [("role", "ROLE"), ("resource", "RESOURCE"), ("action", "ACTION")];
            list(&server, PERMISSION, &columns, json).await
        }
        PermissionVerb::Add { role, resource, action, server } => {
            let action = action.as_str();
            let params = [("role", role.as_str()), ("resource", &resource), ("action", action)];
            change(&server, Method::Post, PERMISSION, &params).await?;
            print_line(&format!("{role} is permitted {action} on {resource}"))
        }
        PermissionVerb::Rm { role, resource, action, server } => {
            let action = action.as_str();
            let params = [("role", role.as_str()), ("resource", &resource), ("action", action)];
            let client = server.client()?;
            let answer = client.call(Method::Get, PERMISSION, &params, &[]).await?.accepted()?;
            if answer.json::<Value>()?["data"] != true {
                return Err(CliError::NotFound { what: "the permission".to_owned() });
            }
            client.call(Method::Delete, PERMISSION, &params, &[]).await?.accepted()?;
            print_line(&format!("{role} is no longer permitted {action} on {resource}"))
        }
    }
}

async fn change(
    server: &ServerArgs,
    method: Method,
    path: &str,
    params: &Params<'_>,
) -> Result<(), CliError> {
    server.client()?.call(method, path, params, &[]).await?.accepted()?;
    Ok(())
}

/// Removes what is there: a node takes it for done where it is not, and a slip of the pen would
/// pass for that.
async fn remove(
    server: &ServerArgs,
    path: &str,
    params: &Params<'_>,
    what: &str,
) -> Result<(), CliError> {
    let client = server.client()?;
    if client.pages(&format!("{path}/list"), params, PAGE_SIZE, what).await?.is_empty() {
        return Err(CliError::NotFound { what: what.to_owned() });
    }
    client.call(Method::Delete, path, params, &[]).await?.accepted()?;
    Ok(())
}

/// Prints every item of a list; a column is a field and its head.
async fn list(
    server: &ServerArgs,
    path: &str,
    columns: &[(&str, &str)],
    json: bool,
) -> Result<(), CliError> {
    let path = format!("{path}/list");
    let mut items = server.client()?.pages(&path, &[], PAGE_SIZE, "the list").await?;
    // A node tells stars instead of passwords.
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.remove("password");
    }
    if json {
        return print_json(&Value::Array(items));
    }
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|(field, _)| text(item, field)).collect())
        .collect();
    let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
    print_table(&heads, &rows)
}
