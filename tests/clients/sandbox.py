"""What every script in this folder needs: where the sandbox is, and who calls.

The scripts use Google's clients as anybody would. What is said here comes from the
variables that `dorainfra sandbox start` prints, and nowhere else do they differ
from a program that talks to Google.
"""

import os
import unittest

import google.auth

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]


def endpoint(api):
    """The address of an API (`compute`), as gcloud takes it, without its path."""
    address = os.environ[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}"]
    return "/".join(address.split("/")[:3])


def credentials():
    """Those of the key file in GOOGLE_APPLICATION_CREDENTIALS."""
    found, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return found


def main():
    unittest.main(verbosity=2)
