//! Which command lacks which permission, and who can give it.

use std::collections::BTreeSet;

use dorainfra_gcp::{self as gcp, Identity};
use dorainfra_model::Check;

use super::{failed, passed, unknown};
use crate::resource::Command;

/// A check for each command. `wanted`: all that the deployment takes; `lacking`: what is missing
/// of them, or why that is not known.
pub(super) fn checks(
    project: &str,
    wanted: &[String],
    lacking: Result<&[String], String>,
    identity: Option<&Identity>,
) -> Vec<Check> {
    let of = |command: Command| {
        let name = format!("permissions.{}", command.name());
        let title = format!("permissions of `{}`", command.name());
        let needed = wanted.iter().filter(|permission| command.takes(permission)).count();
        let lacking = match &lacking {
            Ok(lacking) => *lacking,
            Err(why) => return unknown(&name, title, why.as_str()),
        };
        let missing: Vec<&str> =
            lacking.iter().map(String::as_str).filter(|permission| command.takes(permission)).collect();
        match missing.is_empty() {
            true => passed(&name, title, format!("all {needed}")),
            false => failed(
                &name,
                title,
                format!("permissions missing: {}", missing.join(", ")),
                roles(project, &missing, identity),
            ),
        }
    };
    Command::ALL.map(of).into()
}

/// What gives the caller what is missing.
fn roles(project: &str, missing: &[&str], identity: Option<&Identity>) -> String {
    let roles: BTreeSet<&str> =
        missing.iter().map(|permission| gcp::role_with(permission).unwrap_or("roles/owner")).collect();
    let member = identity.and_then(Identity::member).unwrap_or_else(|| "user:ADDRESS".into());
    let named: Vec<&str> = roles.iter().copied().collect();
    let commands: Vec<String> = roles
        .iter()
        .map(|role| {
            format!("gcloud projects add-iam-policy-binding {project} --member={member} --role={role}")
        })
        .collect();
    format!("an owner of the project can give you {}:\n{}", named.join(", "), commands.join("\n"))
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Outcome;

    use super::*;

    #[test]
    fn each_command_is_told_what_it_lacks_itself() {
        let wanted = [
            "compute.addresses.create",
            "compute.addresses.delete",
            "compute.addresses.list",
            "compute.globalOperations.get",
            "secretmanager.versions.access",
        ]
        .map(str::to_owned);
        let identity = Identity { account: Some("ada@example.com".into()), ..Identity::default() };
        let of = |missing: &[&str]| {
            let missing: Vec<String> = missing.iter().map(|&name| name.to_owned()).collect();
            let checks = checks("acme", &wanted, Ok(&missing), Some(&identity));
            let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed);
            failed.map(|check| check.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [""; 0]);
        assert_eq!(of(&["compute.addresses.create"]), ["permissions.apply"]);
        assert_eq!(of(&["compute.addresses.delete"]), ["permissions.apply", "permissions.destroy"]);
        assert_eq!(of(&["compute.globalOperations.get"]), ["permissions.apply", "permissions.destroy"]);
        assert_eq!(
            of(&["secretmanager.versions.access"]),
            ["permissions.apply", "permissions.verify", "permissions.destroy"]
        );
        assert_eq!(
            of(&["compute.addresses.list"]),
            ["permissions.plan", "permissions.apply", "permissions.destroy"]
        );
        let hint = roles("acme", &["compute.addresses.create", "storage.objects.get"], Some(&identity));
        insta::assert_snapshot!(hint, @r"
        an owner of the project can give you roles/compute.admin, roles/storage.admin:
        gcloud projects add-iam-policy-binding acme --member=user:ada@example.com --role=roles/compute.admin
        gcloud projects add-iam-policy-binding acme --member=user:ada@example.com --role=roles/storage.admin
        ");
        let unknown = checks("acme", &wanted, Err("the API is off".into()), None);
        assert!(unknown.iter().all(|check| check.outcome == Outcome::Unknown));
    }
}
