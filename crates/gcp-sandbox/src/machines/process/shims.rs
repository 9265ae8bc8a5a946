//! The programs that only a machine of its own can have, as small scripts in
//! front of the machine's PATH: what would change the host is done inside the
//! machine's folder instead, or asked of the supervisor.

use std::path::Path;
use std::{fs, io};

use dorainfra_base::file::{self, Mode};

/// A data disk is a folder; its file system is the folder `fs` in it, and
/// mounting it is a link. `$DORAINFRA_ROOT/.mounts` lists what is mounted.
const SHIMS: &[(&str, &str)] = &[
    (
        "blkid",
        r#"for disk do :; done
if [ -d "$disk/fs" ]; then echo "$disk: TYPE=\"ext4\""; exit 0; fi
[ -d "$disk" ] && exit 2
echo "blkid: $disk: no such disk" >&2; exit 2
"#,
    ),
    (
        "mkfs.ext4",
        r#"for disk do :; done
[ -d "$disk" ] || { echo "mkfs.ext4: $disk: no such disk" >&2; exit 1; }
mkdir "$disk/fs"
"#,
    ),
    (
        "mount",
        r#"disk= where=
for word do disk=$where where=$word; done
[ -d "$disk/fs" ] || { echo "mount: $where: wrong fs type, bad option, bad superblock on $disk" >&2; exit 32; }
[ ! -L "$where" ] || { echo "mount: $where: already mounted" >&2; exit 32; }
rmdir "$where" || exit 32
ln -s "$(readlink -f "$disk")/fs" "$where" && echo "$where" >>"$DORAINFRA_ROOT/.mounts"
"#,
    ),
    (
        "umount",
        r#"for where do :; done
[ -L "$where" ] || { echo "umount: $where: not mounted" >&2; exit 32; }
rm "$where" && mkdir "$where"
"#,
    ),
    ("mountpoint", "for where do :; done\n[ -L \"$where\" ]\n"),
    ("resize2fs", "for disk do :; done\n[ -d \"$disk/fs\" ]\n"),
    // Everything runs as the one user who runs the sandbox.
    ("useradd", "exit 0\n"),
    ("chown", "exit 0\n"),
    ("systemctl", ASK),
    ("journalctl", ASK),
];

/// The answer's first line is the exit status, the rest is the output.
const ASK: &str = r#"answer=$(for word do printf '%s\n' "$word"; done |
  curl --silent --show-error --fail --max-time 900 --noproxy '*' --header 'Metadata-Flavor: Google' \
    --data-binary @- "http://$GCE_METADATA_HOST/machine/${0##*/}") || exit 1
status=${answer%%:*}
printf '%s' "${answer#*:}"
[ "${answer#*:}" = '' ] || echo
exit "$status"
"#;

/// Writes the shims into `folder`.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, body) in SHIMS {
        file::replace(&folder.join(name), format!("#!/bin/sh\n{body}").as_bytes(), Mode::Program)?;
    }
    Ok(())
}

/// Undoes the mounts, as a reboot does.
pub(super) fn unmount_all(root: &Path) -> io::Result<()> {
    let list = root.join(".mounts");
    let Ok(text) = fs::read_to_string(&list) else { return Ok(()) };
    for place in text.lines().map(Path::new).filter(|place| place.is_symlink()) {
        fs::remove_file(place)?;
        fs::create_dir(place)?;
    }
    fs::remove_file(list)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_disk_is_formatted_mounted_and_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        let (root, disk, place) =
            (dir.path().join("root"), dir.path().join("disk"), dir.path().join("root/data"));
        fs::create_dir_all(&place).unwrap();
        fs::create_dir(&disk).unwrap();
        write(&dir.path().join("shims")).unwrap();
        let run = |name: &str, arguments: &[&str]| {
            Command::new(dir.path().join("shims").join(name))
                .args(arguments)
                .env("DORAINFRA_ROOT", &root)
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap()
                .code()
                .unwrap()
        };
        let (disk, place) = (disk.to_str().unwrap(), place.to_str().unwrap());
        assert_eq!(run("blkid", &["--probe", disk]), 2);
        assert_eq!(run("mount", &[disk, place]), 32);
        assert_eq!(run("mkfs.ext4", &["-q", disk]), 0);
        assert_eq!(run("mkfs.ext4", &["-q", disk]), 1, "never twice");
        assert_eq!(run("blkid", &["--probe", disk]), 0);
        assert_eq!(run("mountpoint", &["--quiet", place]), 1);
        assert_eq!(run("mount", &["-o", "noatime,discard", disk, place]), 0);
        assert_eq!(run("mountpoint", &["--quiet", place]), 0);
        fs::write(Path::new(place).join("kept"), "x").unwrap();
        unmount_all(&root).unwrap();
        assert!(Path::new(place).is_dir() && !Path::new(place).is_symlink());
        assert!(fs::read_dir(place).unwrap().next().is_none());
        assert!(Path::new(disk).join("fs/kept").exists());
    }

    #[test]
    fn the_shims_are_plain_shell() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        for (name, _) in SHIMS {
            let status = Command::new("sh").arg("-n").arg(dir.path().join(name)).status().unwrap();
            assert!(status.success(), "{name}");
        }
    }
}
