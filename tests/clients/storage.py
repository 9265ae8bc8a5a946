"""Cloud Storage by google-cloud-storage."""

import unittest
import uuid

from google.cloud import storage

import sandbox


class Storage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # STORAGE_EMULATOR_HOST names the address.
        cls.client = storage.Client(project=sandbox.PROJECT, credentials=sandbox.credentials())
        cls.addClassCleanup(cls.client.close)

    def bucket(self, **settings):
        """A bucket of the test's own."""
        bucket = self.client.bucket(f"client-{uuid.uuid4()}")
        for name, value in settings.items():
            setattr(bucket, name, value)
        return self.client.create_bucket(bucket, location="europe-west1")


class Buckets(Storage):
    def test_a_bucket_is_made_read_and_deleted(self):
        bucket = self.bucket(labels={"team": "a"})
        again = self.client.get_bucket(bucket.name)
        self.assertEqual(again.location, "EUROPE-WEST1")
        self.assertEqual(again.labels, {"team": "a"})
        again.delete()
        self.assertIsNone(self.client.lookup_bucket(bucket.name))


if __name__ == "__main__":
    sandbox.main()
