//! What [`up`](super::up) would do, part by part: by the same commands, and by the record that it goes by.

use std::collections::BTreeMap;

use super::part::{self, Command, Part};
use super::record::Record;
use super::{Setup, StackError, check_port, configuration};

/// What becomes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intended {
    Start,
    /// It runs, otherwise than it should.
    Restart,
    /// It runs no more, though nobody stopped it.
    StartAgain,
    /// It runs as it should.
    Nothing,
    /// It runs, and is no part of the stack any more.
    End,
}

/// Looks, and changes nothing.
///
/// # Errors
/// `up` could not do it: a program is missing, or somebody else listens on a port.
pub async fn intended(setup: &Setup) -> Result<BTreeMap<Part, Intended>, StackError> {
    let absolute = setup.dir.canonicalize().or_else(|_| std::path::absolute(&setup.dir));
    let dir = absolute.map_err(StackError::file("cannot resolve", &setup.dir))?;
    let commands = part::commands(setup, &dir, &configuration(setup)?).await?;
    let record = Record::load(&dir)?;
    let of_command = |command: &Command| match (record.running(command.part), &record.parts) {
        (Some((started, _)), _) if started.digest == command.digest => Intended::Nothing,
        (Some(_), _) => Intended::Restart,
        (None, parts) if parts.contains_key(&command.part) => Intended::StartAgain,
        (None, _) => Intended::Start,
    };
    let mut parts: BTreeMap<Part, Intended> =
        commands.iter().map(|command| (command.part, of_command(command))).collect();
    let over = Part::ALL.into_iter().filter(|part| record.running(*part).is_some());
    for part in over {
        parts.entry(part).or_insert(Intended::End);
    }
    ports(&commands, &parts, &record).await?;
    Ok(parts)
}

/// An error where a part that is to be started would find its port taken, by somebody else or by a part
/// that has it until later.
async fn ports(
    commands: &[Command],
    parts: &BTreeMap<Part, Intended>,
    record: &Record,
) -> Result<(), StackError> {
    let running = |part: Part| Some((part, record.running(part)?.0.port?));
    let ours: BTreeMap<Part, u16> = Part::ALL.into_iter().filter_map(running).collect();
    let mut held = ours.clone();
    for command in commands {
        let part = command.part;
        let (Some(port), false) = (command.port, parts.get(&part) == Some(&Intended::Nothing)) else {
            continue;
        };
        held.remove(&part);
        if held.values().any(|other| *other == port) {
            return Err(StackError::PortInUse { port, part });
        }
        if !ours.values().any(|own| *own == port) {
            check_port(port, part).await?;
        }
        held.insert(part, port);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use dorainfra_config::{Config, Ports};
    use dorainfra_prometheus::{Flavour, Target};

    use super::super::record::{self, Started};
    use super::super::{Binaries, Live, process};
    use super::*;
    use crate::blueprint::File;

    fn free() -> Ports {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [prometheus, pushgateway, generator] =
            listeners.map(|listener| listener.local_addr().unwrap().port());
        Ports { prometheus, pushgateway, generator, ..Config::default().stack.ports }
    }

    /// A stack whose programs nobody starts, on ports that were free a moment ago.
    fn setup(folder: &Path) -> Setup {
        let program = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, "#!/bin/sh\necho 'prometheus, version 2.42.0'\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            Some(path)
        };
        let contents = "global: {}\n".to_owned();
        Setup {
            dir: folder.join("stack"),
            files: vec![File { path: "stack/prometheus.yml".into(), contents, executable: false }],
            job_files: Vec::new(),
            tls: None,
            binaries: Binaries {
                generator: "/bin/true".into(),
                prometheus: program("prometheus"),
                pushgateway: program("pushgateway"),
                search: Vec::new(),
            },
            ports: free(),
            generator: Config::default().generator,
            follow: None,
            live: Live::Pushgateway,
            target: Target::new(Flavour::Mimir, "https://mimir:9009", (Ipv4Addr::LOCALHOST, 9009).into()),
        }
    }

    /// The record of a stack that runs as `setup` says: each part is this very process.
    async fn runs(setup: &Setup) {
        let dir = &setup.dir;
        record::folder(&dir.join("run")).unwrap();
        let dir = dir.canonicalize().unwrap();
        let mut record = Record::default();
        for command in part::commands(setup, &dir, &configuration(setup).unwrap()).await.unwrap() {
            let mut started = Started::now(&command, &dir.join("log"));
            started.process = process::identity(Path::new("/proc/self/stat"));
            record.parts.insert(command.part, started);
        }
        record.save(&dir).unwrap();
    }

    fn changed(parts: &BTreeMap<Part, Intended>) -> Vec<(Part, Intended)> {
        parts.iter().filter(|(_, it)| **it != Intended::Nothing).map(|(part, it)| (*part, *it)).collect()
    }

    #[tokio::test]
    async fn each_key_restarts_the_parts_that_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let first = setup(folder.path());
        let all = [Part::Pushgateway, Part::Prometheus, Part::Generator];
        let parts = intended(&first).await.unwrap();
        assert_eq!(changed(&parts), all.map(|part| (part, Intended::Start)));
        assert!(!first.dir.exists(), "a look makes nothing");
        runs(&first).await;
        assert_eq!(changed(&intended(&first).await.unwrap()), []);

        let other = |change: &dyn Fn(&mut Setup)| {
            let mut other = first.clone();
            change(&mut other);
            other
        };
        let free = free();
        let cases: [(Setup, &[Part]); 6] = [
            (other(&|it| it.ports.prometheus = free.prometheus), &[Part::Prometheus]),
            (other(&|it| it.ports.pushgateway = free.pushgateway), &[Part::Pushgateway, Part::Generator]),
            // Nobody serves there.
            (other(&|it| it.ports.generator = free.generator), &[]),
            (other(&|it| it.generator.seed += 1), &[Part::Generator]),
            (other(&|it| it.binaries.prometheus = it.binaries.pushgateway.clone()), &[Part::Prometheus]),
            (other(&|it| it.files[0].contents.push('#')), &[Part::Prometheus]),
        ];
        for (setup, expected) in cases {
            let restarted: Vec<_> = expected.iter().map(|part| (*part, Intended::Restart)).collect();
            assert_eq!(changed(&intended(&setup).await.unwrap()), restarted, "{setup:?}");
        }
        let scraped = changed(&intended(&other(&|it| it.live = Live::Scrape)).await.unwrap());
        assert_eq!(scraped, [(Part::Pushgateway, Intended::End), (Part::Generator, Intended::Restart)]);
    }

    #[tokio::test]
    async fn what_could_not_be_started_is_told_before() {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(folder.path());
        let taken = TcpListener::bind(("127.0.0.1", setup.ports.pushgateway)).unwrap();
        let error = intended(&setup).await.unwrap_err();
        assert!(matches!(error, StackError::PortInUse { part: Part::Pushgateway, .. }), "{error}");
        drop(taken);
        let mut none = setup.clone();
        none.binaries.pushgateway = None;
        let error = intended(&none).await.unwrap_err();
        assert!(matches!(error, StackError::Missing { binary: "prometheus-pushgateway", .. }), "{error}");

        // A port of its own is free once its part has another one; not before.
        runs(&setup).await;
        let mut moved = setup.clone();
        moved.ports.prometheus = setup.ports.pushgateway;
        let error = intended(&moved).await.unwrap_err();
        assert!(matches!(error, StackError::PortInUse { part: Part::Prometheus, .. }), "{error}");
    }
}
