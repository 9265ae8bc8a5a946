"""Cloud Storage by google-cloud-storage."""

import io
import os
import unittest
import uuid

from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.oauth2 import service_account
from google.resumable_media.requests import ResumableUpload, SimpleUpload

import sandbox

MIB = 1024 * 1024


class Storage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # STORAGE_EMULATOR_HOST names the address.
        cls.client = storage.Client(project=sandbox.PROJECT, credentials=sandbox.credentials())
        cls.addClassCleanup(cls.client.close)

    def bucket(self, location="europe-west1", **settings):
        """A bucket of the test's own."""
        bucket = self.client.bucket(f"client-{uuid.uuid4()}")
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        for name, value in settings.items():
            setattr(bucket, name, value)
        return self.client.create_bucket(bucket, location=location)

    def written(self, bucket, name, data=b"data", **settings):
        """An object with that data."""
        blob = bucket.blob(name)
        for setting, value in settings.items():
            setattr(blob, setting, value)
        blob.upload_from_string(data)
        return blob


class Buckets(Storage):
    def test_a_bucket_is_made_read_changed_and_deleted(self):
        bucket = self.bucket(labels={"team": "a"})
        again = self.client.get_bucket(bucket.name)
        self.assertEqual(again.location, "EUROPE-WEST1")
        self.assertEqual(again.labels, {"team": "a"})
        again.labels = {"team": "b"}
        again.versioning_enabled = True
        again.cors = [{"origin": ["https://example.com"], "method": ["GET"], "maxAgeSeconds": 60}]
        again.patch(if_metageneration_match=again.metageneration)
        self.assertEqual(again.metageneration, 2)
        with self.assertRaises(exceptions.PreconditionFailed):
            again.patch(if_metageneration_match=1)
        again.storage_class = "NEARLINE"
        again.update()
        bucket.reload()
        self.assertEqual((bucket.storage_class, bucket.versioning_enabled), ("NEARLINE", True))
        bucket.delete()
        self.assertIsNone(self.client.lookup_bucket(bucket.name))

    def test_names_are_everybodys(self):
        bucket = self.bucket()
        with self.assertRaises(exceptions.Conflict):
            self.client.create_bucket(bucket.name)
        with self.assertRaises(exceptions.BadRequest):
            self.client.create_bucket("goog-no")

    def test_buckets_are_listed_in_pages(self):
        prefix = f"pages-{uuid.uuid4()}"
        made = [self.client.create_bucket(f"{prefix}-{number}").name for number in range(5)]
        found = self.client.list_buckets(prefix=prefix, page_size=2)
        pages = [[bucket.name for bucket in page] for page in found.pages]
        self.assertEqual([len(page) for page in pages], [2, 2, 1])
        self.assertEqual(sum(pages, []), made)

    def test_a_bucket_that_holds_something_stays(self):
        bucket = self.bucket()
        self.written(bucket, "a")
        with self.assertRaises(exceptions.Conflict):
            bucket.delete()
        bucket.delete(force=True)
        self.assertFalse(bucket.exists())

    def test_lifecycle_rules_are_kept_and_checked(self):
        bucket = self.bucket()
        bucket.add_lifecycle_delete_rule(age=30, matches_prefix=["old/"], is_live=True)
        bucket.add_lifecycle_set_storage_class_rule("COLDLINE", age=7, matches_storage_class=["STANDARD"])
        bucket.add_lifecycle_abort_incomplete_multipart_upload_rule(age=1)
        bucket.patch()
        kinds = [rule["action"]["type"] for rule in self.client.get_bucket(bucket.name).lifecycle_rules]
        self.assertEqual(kinds, ["Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"])
        bucket.lifecycle_rules = [{"action": {"type": "Delete"}, "condition": {}}]
        with self.assertRaises(exceptions.BadRequest):
            bucket.patch()

    def test_policies_are_written_under_their_etag(self):
        bucket = self.bucket()
        policy = bucket.get_iam_policy(requested_policy_version=3)
        stale = policy.etag
        policy.version = 3
        policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:someone@example.com"}})
        written = bucket.set_iam_policy(policy)
        roles = [binding["role"] for binding in written.bindings]
        self.assertIn("roles/storage.objectViewer", roles)
        policy.etag = stale
        with self.assertRaises(exceptions.PreconditionFailed):
            bucket.set_iam_policy(policy)
        asked = ["storage.buckets.get", "storage.objects.create"]
        self.assertEqual(bucket.test_iam_permissions(asked), asked)

    def test_what_is_not_heeded_is_refused_by_name(self):
        for refused in ("requester_pays", "autoclass_enabled"):
            with self.assertRaises(exceptions.MethodNotImplemented):
                self.bucket(**{refused: True})
        with self.assertRaisesRegex(exceptions.MethodNotImplemented, "storage.notifications.list"):
            list(self.bucket().list_notifications())


class Retention(Storage):
    def test_a_hold_keeps_an_object(self):
        bucket = self.bucket()
        blob = self.written(bucket, "held")
        blob.temporary_hold = True
        blob.patch()
        with self.assertRaisesRegex(exceptions.Forbidden, "under active Temporary hold"):
            blob.delete()
        with self.assertRaises(exceptions.Forbidden):
            self.written(bucket, "held", b"other")
        blob.temporary_hold = False
        blob.patch()
        blob.delete()

    def test_a_retention_policy_keeps_objects_and_can_be_locked(self):
        bucket = self.bucket(retention_period=3600)
        blob = self.written(bucket, "kept")
        self.assertIsNotNone(blob.retention_expiration_time)
        with self.assertRaisesRegex(exceptions.Forbidden, "retention policy"):
            blob.delete()
        bucket.lock_retention_policy()
        self.assertTrue(bucket.retention_policy_locked)
        bucket.retention_period = 60
        with self.assertRaises(exceptions.Forbidden):
            bucket.patch()


class Objects(Storage):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = cls.bucket(cls)

    def test_a_simple_upload(self):
        session = AuthorizedSession(sandbox.credentials())
        self.addCleanup(session.close)
        host = os.environ["STORAGE_EMULATOR_HOST"]
        upload = SimpleUpload(f"{host}/upload/storage/v1/b/{self.shared.name}/o?uploadType=media&name=simple")
        answer = upload.transmit(session, b"simple bytes", "text/plain")
        self.assertEqual(answer.json()["size"], "12")
        self.assertEqual(self.shared.blob("simple").download_as_text(), "simple bytes")

    def test_a_multipart_upload_with_metadata_and_checksum(self):
        blob = self.shared.blob("dir/multi part+ü.txt")
        blob.metadata = {"color": "blue"}
        blob.cache_control = "no-store"
        blob.upload_from_string("text", content_type="text/plain", checksum="crc32c")
        again = self.shared.get_blob(blob.name)
        self.assertEqual((again.metadata, again.content_type), ({"color": "blue"}, "text/plain"))
        self.assertEqual((again.cache_control, again.size), ("no-store", 4))
        self.assertEqual(again.download_as_bytes(checksum="md5"), b"text")
        self.assertEqual(again.download_as_bytes(checksum="crc32c", raw_download=True), b"text")

    def test_a_resumable_upload_in_chunks(self):
        data = os.urandom(1_300_000)
        blob = self.shared.blob("resumable", chunk_size=256 * 1024)
        blob.upload_from_file(io.BytesIO(data), size=len(data), checksum="crc32c")
        self.assertEqual(blob.size, len(data))
        self.assertEqual(blob.download_as_bytes(), data)
        # In chunks as well, each of which is a range.
        into = io.BytesIO()
        blob.download_to_file(into, checksum=None)
        self.assertEqual(into.getvalue(), data)

    def test_a_resumable_upload_of_unknown_size_by_a_stream(self):
        blob = self.shared.blob("stream")
        with blob.open("wb", chunk_size=256 * 1024) as stream:
            for _ in range(3):
                stream.write(b"x" * 200_000)
        blob.reload()
        self.assertEqual(blob.size, 600_000)
        with blob.open("rb", chunk_size=256 * 1024) as stream:
            stream.seek(599_990)
            self.assertEqual(stream.read(), b"x" * 10)

    def test_a_resumable_upload_is_taken_up_again(self):
        session = AuthorizedSession(sandbox.credentials())
        self.addCleanup(session.close)
        host = os.environ["STORAGE_EMULATOR_HOST"]
        url = f"{host}/upload/storage/v1/b/{self.shared.name}/o?uploadType=resumable"
        data = os.urandom(600_000)
        upload = ResumableUpload(url, 256 * 1024)
        upload.initiate(session, io.BytesIO(data), {"name": "again"}, "application/octet-stream")
        upload.transmit_next_chunk(session)
        # Another process, later: it asks how much there is.
        status = session.put(upload.resumable_url, headers={"Content-Range": f"bytes */{len(data)}"})
        self.assertEqual((status.status_code, status.headers["Range"]), (308, "bytes=0-262143"))
        while not upload.finished:
            upload.transmit_next_chunk(session)
        self.assertEqual(self.shared.blob("again").download_as_bytes(), data)

    def test_ranges(self):
        blob = self.written(self.shared, "ranges", b"0123456789")
        self.assertEqual(blob.download_as_bytes(start=2, end=4), b"234")
        self.assertEqual(blob.download_as_bytes(start=7), b"789")
        self.assertEqual(blob.download_as_bytes(start=-3), b"789")
        with self.assertRaises(exceptions.RequestRangeNotSatisfiable):
            blob.download_as_bytes(start=10)

    def test_preconditions_on_generation_and_metageneration(self):
        blob = self.shared.blob("conditions")
        blob.upload_from_string(b"1", if_generation_match=0)
        first = blob.generation
        with self.assertRaises(exceptions.PreconditionFailed):
            self.shared.blob("conditions").upload_from_string(b"2", if_generation_match=0)
        blob.upload_from_string(b"2", if_generation_match=first)
        self.assertGreater(blob.generation, first)
        with self.assertRaises(exceptions.PreconditionFailed):
            blob.download_as_bytes(if_generation_match=first)
        with self.assertRaises(exceptions.NotFound):
            self.shared.blob("conditions", generation=first).reload()
        with self.assertRaises(exceptions.NotModified):
            blob.reload(if_generation_not_match=blob.generation)
        with self.assertRaises(exceptions.PreconditionFailed):
            blob.delete(if_metageneration_match=9)
        blob.metadata = {"a": "b"}
        blob.patch(if_metageneration_match=1)
        self.assertEqual(blob.metageneration, 2)
        blob.content_language = "en"
        blob.update(if_metageneration_match=2)
        self.assertEqual((blob.metageneration, blob.metadata), (3, {"a": "b"}))
        blob.delete(if_generation_match=blob.generation)
        self.assertFalse(blob.exists())

    def test_lists(self):
        bucket = self.bucket()
        for name in ("a", "dir/one", "dir/sub/two", "dir/three", "z"):
            self.written(bucket, name)
        names = lambda **query: [blob.name for blob in self.client.list_blobs(bucket, **query)]
        self.assertEqual(names(), ["a", "dir/one", "dir/sub/two", "dir/three", "z"])
        self.assertEqual(names(prefix="dir/"), ["dir/one", "dir/sub/two", "dir/three"])
        self.assertEqual(names(start_offset="b", end_offset="z"), ["dir/one", "dir/sub/two", "dir/three"])
        listed = self.client.list_blobs(bucket, prefix="dir/", delimiter="/")
        self.assertEqual([blob.name for blob in listed], ["dir/one", "dir/three"])
        self.assertEqual(listed.prefixes, {"dir/sub/"})
        pages = [len(list(page)) for page in self.client.list_blobs(bucket, page_size=2).pages]
        self.assertEqual(pages, [2, 2, 1])
        self.assertEqual(names(max_results=3), ["a", "dir/one", "dir/sub/two"])

    def test_versions(self):
        bucket = self.bucket(versioning_enabled=True)
        old = self.written(bucket, "a", b"old").generation
        self.written(bucket, "a", b"new")
        self.assertEqual(bucket.blob("a", generation=old).download_as_bytes(), b"old")
        self.assertEqual(len(list(self.client.list_blobs(bucket, versions=True))), 2)
        bucket.blob("a", generation=old).delete()
        self.assertEqual(len(list(self.client.list_blobs(bucket, versions=True))), 1)

    def test_an_object_that_is_not_there(self):
        self.assertIsNone(self.shared.get_blob("none"))
        with self.assertRaises(exceptions.NotFound):
            self.shared.blob("none").download_as_bytes()
        with self.assertRaises(exceptions.NotFound):
            self.shared.blob("none").delete()

    def test_a_scope_that_only_reads(self):
        scope = "https://www.googleapis.com/auth/devstorage.read_only"
        key = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
        reader = service_account.Credentials.from_service_account_file(key, scopes=[scope])
        self.written(self.shared, "readable", b"r")
        client = storage.Client(project=sandbox.PROJECT, credentials=reader)
        self.addCleanup(client.close)
        blob = client.bucket(self.shared.name).blob("readable")
        self.assertEqual(blob.download_as_bytes(), b"r")
        with self.assertRaisesRegex(exceptions.Forbidden, "insufficient authentication scopes"):
            blob.upload_from_string(b"w")


class Copies(Storage):
    def test_compose(self):
        bucket = self.bucket()
        parts = [self.written(bucket, f"part-{number}", data) for number, data in enumerate((b"one ", b"two ", b"three"))]
        whole = bucket.blob("whole")
        whole.content_type = "text/plain"
        generations = [part.generation for part in parts]
        whole.compose(parts, if_generation_match=0, if_source_generation_match=generations)
        self.assertEqual((whole.component_count, whole.md5_hash), (3, None))
        self.assertEqual(whole.download_as_bytes(checksum="crc32c"), b"one two three")
        whole.compose([whole, parts[0]])
        self.assertEqual(whole.component_count, 4)
        with self.assertRaises(exceptions.PreconditionFailed):
            whole.compose(parts, if_source_generation_match=[1, 1, 1])
        with self.assertRaises(exceptions.NotFound):
            whole.compose([bucket.blob("missing")])

    def test_copy_and_rename(self):
        source, target = self.bucket(), self.bucket(location="us")
        blob = self.written(source, "a", b"bytes", metadata={"k": "v"})
        copy = source.copy_blob(blob, target, "b", if_source_generation_match=blob.generation)
        self.assertEqual((copy.metadata, copy.md5_hash), ({"k": "v"}, blob.md5_hash))
        self.assertNotEqual(copy.generation, blob.generation)
        blob.delete()
        self.assertEqual(copy.download_as_bytes(), b"bytes")
        renamed = target.rename_blob(copy, "c")
        self.assertEqual([each.name for each in target.list_blobs()], ["c"])
        self.assertEqual(renamed.download_as_bytes(), b"bytes")

    def test_rewrite_in_several_calls(self):
        source, target = self.bucket(), self.bucket(location="us")
        data = os.urandom(3 * MIB + 5)
        blob = self.written(source, "big", data)
        copy = target.blob("big")
        # The client has no parameter for the limit, the API has.
        limited = f"/b/{source.name}/o/big/rewriteTo/b/{target.name}/o/big"
        query = {"maxBytesRewrittenPerCall": 2 * MIB}
        first = self.client._connection.api_request("POST", limited, query_params=query, data={})
        self.assertEqual((first["done"], first["totalBytesRewritten"]), (False, str(2 * MIB)))
        self.assertFalse(copy.exists())
        token, written, size = copy.rewrite(blob, token=first["rewriteToken"])
        self.assertEqual((token, written, size), (None, len(data), len(data)))
        self.assertEqual(copy.download_as_bytes(), data)
        with self.assertRaises(exceptions.BadRequest):
            copy.rewrite(blob, token="nonsense")

    def test_a_storage_class_changes_by_a_rewrite(self):
        blob = self.written(self.bucket(), "a", b"cold", metadata={"k": "v"})
        blob.update_storage_class("COLDLINE")
        blob.reload()
        self.assertEqual((blob.storage_class, blob.metadata), ("COLDLINE", {"k": "v"}))
        self.assertEqual(blob.download_as_bytes(), b"cold")


class SoftDelete(Storage):
    def test_a_deleted_object_comes_back(self):
        bucket = self.bucket()
        self.assertEqual(bucket.soft_delete_policy.retention_duration_seconds, 7 * 24 * 3600)
        blob = self.written(bucket, "a", b"first", metadata={"k": "v"})
        generation = blob.generation
        blob.delete()
        self.assertEqual(list(self.client.list_blobs(bucket)), [])
        (gone,) = self.client.list_blobs(bucket, soft_deleted=True)
        self.assertEqual(gone.generation, generation)
        gone = bucket.get_blob("a", generation=generation, soft_deleted=True)
        self.assertGreater(gone.hard_delete_time, gone.soft_delete_time)
        back = bucket.restore_blob("a", generation=generation)
        self.assertNotEqual(back.generation, generation)
        self.assertEqual((back.metageneration, back.metadata), (1, {"k": "v"}))
        self.assertEqual(back.download_as_bytes(), b"first")
        with self.assertRaises(exceptions.NotFound):
            bucket.restore_blob("a", generation=1)

    def test_a_replaced_object_is_kept_too(self):
        bucket = self.bucket()
        first = self.written(bucket, "a", b"first").generation
        self.written(bucket, "a", b"second")
        bucket.restore_blob("a", generation=first)
        self.assertEqual(bucket.blob("a").download_as_bytes(), b"first")
        self.assertEqual(len(list(self.client.list_blobs(bucket, soft_deleted=True))), 2)

    def test_without_a_policy_gone_is_gone(self):
        bucket = self.bucket()
        bucket.soft_delete_policy.retention_duration_seconds = 0
        bucket.patch()
        self.written(bucket, "a").delete()
        self.assertEqual(list(self.client.list_blobs(bucket, soft_deleted=True)), [])
        bucket.soft_delete_policy.retention_duration_seconds = 60
        with self.assertRaises(exceptions.BadRequest):
            bucket.patch()

    def test_a_deleted_bucket_comes_back(self):
        bucket = self.bucket(labels={"team": "a"})
        generation = self.written(bucket, "a", b"in it").generation
        bucket.blob("a").delete()
        bucket.delete()
        (gone,) = self.client.list_buckets(prefix=bucket.name, soft_deleted=True)
        self.assertIsNotNone(gone.soft_delete_time)
        again = self.client.restore_bucket(bucket.name, generation=gone.generation)
        self.assertEqual((again.labels, again.soft_delete_time), ({"team": "a"}, None))
        self.assertEqual(again.restore_blob("a", generation=generation).download_as_bytes(), b"in it")


if __name__ == "__main__":
    sandbox.main()
