"""Runs gcloud as somebody would who has evaluated what `sandbox start` prints."""

import json
import os
import subprocess
import tempfile
import unittest

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
ZONE = "europe-west1-b"
REGION = "europe-west1"
IN_ZONE = f"--zone={ZONE}"
IN_REGION = f"--region={REGION}"

# A configuration of its own, and nothing that would ask somebody or the network.
SETTINGS = {
    "CLOUDSDK_CONFIG": tempfile.mkdtemp(prefix="gcloud-", dir=os.environ["HOME"]),
    "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
    "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",
    "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
}


def run(words):
    return subprocess.run(
        ["gcloud", *words], env={**os.environ, **SETTINGS}, capture_output=True, text=True, timeout=120
    )


class Gcloud(unittest.TestCase):
    def gcloud(self, *words):
        """Its output; it has to succeed, and with the whole of it."""
        done = run(words)
        said = f"gcloud {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        self.assertEqual(done.returncode, 0, said)
        self.assertNotIn("Some requests did not succeed", done.stderr, said)
        return done.stdout

    def value(self, field, *words):
        return self.gcloud(*words, f"--format=value({field})").strip()

    def names(self, *words):
        return self.gcloud(*words, "--format=value(name.basename())").split()

    def json(self, *words):
        return json.loads(self.gcloud(*words, "--format=json"))

    def refused(self, text, *words):
        done = run(words)
        self.assertNotEqual(done.returncode, 0, f"gcloud {' '.join(words)}\n{done.stdout}")
        self.assertIn(text, done.stderr)
