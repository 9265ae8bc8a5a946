"""Cloud Storage, Secret Manager, IAM, Resource Manager and Service Usage by gcloud."""

import os
import pathlib
import tempfile
import unittest

from gcloud import PROJECT, Gcloud

BUCKET = f"gs://{PROJECT}-by-gcloud"


class Storage(Gcloud):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ["HOME"]))

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def test_a_bucket_and_its_objects(self):
        storage = lambda *words: self.gcloud("storage", *words)
        storage("buckets", "create", BUCKET, "--location=europe-west1", "--uniform-bucket-level-access")
        storage("buckets", "update", BUCKET, "--update-labels=a=b", "--versioning")
        self.assertEqual(self.value("labels.a,versioning_enabled", "storage", "buckets", "describe", BUCKET), "b\tTrue")
        storage("buckets", "update", BUCKET, "--no-versioning", "--clear-soft-delete")
        self.assertEqual(self.value("name", "storage", "buckets", "list"), BUCKET[5:])
        # Small ones go as multipart with bare line feeds, large ones by a session.
        large = os.urandom(9 << 20)
        storage("cp", self.file("small", b"hello\r\n"), f"{BUCKET}/a/small")
        storage("cp", self.file("large", large), f"{BUCKET}/large")
        self.assertEqual(storage("cat", f"{BUCKET}/a/small"), "hello\n")
        storage("cp", f"{BUCKET}/large", str(self.folder / "again"))
        self.assertEqual((self.folder / "again").read_bytes(), large)
        storage("objects", "update", f"{BUCKET}/a/small", "--content-type=text/html")
        self.assertEqual(self.value("content_type", "storage", "objects", "describe", f"{BUCKET}/a/small"), "text/html")
        storage("mv", f"{BUCKET}/a/small", f"{BUCKET}/a/moved")
        storage("cp", f"{BUCKET}/a/moved", f"{BUCKET}/a/copied")
        storage("objects", "compose", f"{BUCKET}/a/moved", f"{BUCKET}/a/copied", f"{BUCKET}/composed")
        self.assertEqual(storage("cat", f"{BUCKET}/composed"), "hello\nhello\n")
        self.file("more", b"more")
        storage("rsync", str(self.folder), f"{BUCKET}/synced")
        listed = storage("ls", "-r", BUCKET).split()
        self.assertIn(f"{BUCKET}/synced/more", listed)
        self.assertNotIn(f"{BUCKET}/a/small", listed)
        member = ["--member=allUsers", "--role=roles/storage.objectViewer"]
        storage("buckets", "add-iam-policy-binding", BUCKET, *member)
        self.assertIn("allUsers", storage("buckets", "get-iam-policy", BUCKET))
        storage("buckets", "remove-iam-policy-binding", BUCKET, *member)
        self.refused("not supported", "storage", "buckets", "add-iam-policy-binding", BUCKET, "--member=allUsers", "--role=roles/viewer")
        storage("rm", "-r", BUCKET)
        self.refused("matched no objects", "storage", "ls")


class Secrets(Gcloud):
    def test_a_secret_and_its_versions(self):
        secrets = lambda *words: self.gcloud("secrets", *words)
        path = os.path.join(os.environ["HOME"], "payload")
        pathlib.Path(path).write_text("payload")
        secrets("create", "made", f"--data-file={path}", "--replication-policy=automatic")
        secrets("versions", "add", "made", f"--data-file={path}")
        secrets("update", "made", "--update-labels=a=b", "--update-version-aliases=known=1")
        self.assertEqual(self.value("labels.a", "secrets", "describe", "made"), "b")
        self.assertEqual(self.names("secrets", "list", "--filter=name:made"), ["made"])
        self.assertEqual(self.names("secrets", "versions", "list", "made"), ["2", "1"])
        self.assertEqual(secrets("versions", "access", "known", "--secret=made"), "payload")
        self.assertEqual(secrets("versions", "access", "latest", "--secret=made"), "payload")
        for verb in ("disable", "enable", "destroy"):
            secrets("versions", verb, "1", "--secret=made")
        self.assertEqual(self.value("state", "secrets", "versions", "describe", "1", "--secret=made"), "DESTROYED")
        member = [f"--member=serviceAccount:sandbox-owner@{PROJECT}.iam.gserviceaccount.com", "--role=roles/secretmanager.secretAccessor"]
        secrets("add-iam-policy-binding", "made", *member)
        self.assertIn("secretAccessor", secrets("get-iam-policy", "made"))
        secrets("create", "brief", "--replication-policy=user-managed", "--locations=europe-west1", "--ttl=3600s")
        self.assertRegex(self.value("expireTime", "secrets", "describe", "brief"), r"^\d{4}-")
        secrets("delete", "brief")
        secrets("delete", "made")


class Accounts(Gcloud):
    def test_an_account_and_what_it_is_granted(self):
        accounts = lambda *words: self.gcloud("iam", "service-accounts", *words)
        accounts("create", "by-gcloud", "--display-name=one")
        address = f"by-gcloud@{PROJECT}.iam.gserviceaccount.com"
        accounts("update", address, "--description=two")
        self.assertEqual(self.value("displayName,description", "iam", "service-accounts", "describe", address), "one\ttwo")
        self.assertIn(address, accounts("list"))
        owner = f"serviceAccount:sandbox-owner@{PROJECT}.iam.gserviceaccount.com"
        accounts("add-iam-policy-binding", address, f"--member={owner}", "--role=roles/iam.serviceAccountUser")
        self.assertIn(owner, accounts("get-iam-policy", address))
        accounts("disable", address)
        accounts("enable", address)
        projects = lambda *words: self.gcloud("projects", *words)
        self.assertEqual(self.value("projectId", "projects", "list"), PROJECT)
        self.assertEqual(self.value("lifecycleState", "projects", "describe", PROJECT), "ACTIVE")
        for role in ("compute.viewer", "compute.osLogin", "iap.tunnelResourceAccessor"):
            binding = [f"--member=serviceAccount:{address}", f"--role=roles/{role}", "--condition=None"]
            projects("add-iam-policy-binding", PROJECT, *binding)
        projects("remove-iam-policy-binding", PROJECT, *binding)
        policy = projects("get-iam-policy", PROJECT)
        self.assertIn("roles/compute.osLogin", policy)
        self.assertNotIn("tunnelResourceAccessor", policy)
        accounts("delete", address)

    def test_services_are_enabled_and_disabled(self):
        services = lambda *words: self.gcloud("services", *words)
        services("enable", "logging.googleapis.com", "monitoring.googleapis.com")
        self.assertIn("logging.googleapis.com", services("list", "--enabled"))
        services("disable", "logging.googleapis.com")
        self.assertNotIn("logging.googleapis.com", services("list", "--enabled"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
