"""IAM, Resource Manager, Service Usage and Secret Manager by googleapiclient."""

import base64
import time
import unittest
import uuid

from googleapiclient import discovery
from googleapiclient.errors import HttpError

import sandbox

VERSIONS = {"iam": "v1", "cloudresourcemanager": "v3", "serviceusage": "v1", "secretmanager": "v1"}


class Api(unittest.TestCase):
    api = None

    @classmethod
    def setUpClass(cls):
        cls.client = discovery.build(
            cls.api,
            VERSIONS[cls.api],
            credentials=sandbox.credentials(),
            client_options={"api_endpoint": sandbox.endpoint(cls.api) + "/"},
            # The documents that came with the client.
            static_discovery=True,
        )
        cls.addClassCleanup(cls.client.close)
        cls.project = f"projects/{sandbox.PROJECT}"

    def refused(self, status, request, words=""):
        with self.assertRaises(HttpError) as caught:
            request.execute()
        self.assertEqual(caught.exception.status_code, status)
        self.assertIn(words, str(caught.exception))


class Iam(Api):
    api = "iam"

    def setUp(self):
        self.accounts = self.client.projects().serviceAccounts()

    def make(self, **texts):
        body = {"accountId": f"a{uuid.uuid4().hex[:20]}", "serviceAccount": texts}
        return self.accounts.create(name=self.project, body=body).execute()

    def test_accounts_are_made_read_changed_and_deleted(self):
        made = self.make(displayName="One", description="before")
        self.assertEqual(self.accounts.get(name=made["name"]).execute(), made)
        changed = {"serviceAccount": {"description": "after"}, "updateMask": "description"}
        after = self.accounts.patch(name=made["name"], body=changed).execute()
        self.assertEqual((after["description"], after["displayName"]), ("after", "One"))
        changed["serviceAccount"]["etag"] = made["etag"]
        self.refused(409, self.accounts.patch(name=made["name"], body=changed))
        self.accounts.delete(name=made["name"]).execute()
        self.refused(404, self.accounts.get(name=made["name"]), "does not exist")

    def test_accounts_are_listed_in_pages(self):
        made = {self.make()["name"] for _ in range(3)}
        found, request = set(), self.accounts.list(name=self.project, pageSize=2)
        while request is not None:
            answer = request.execute()
            found |= {account["name"] for account in answer.get("accounts", [])}
            request = self.accounts.list_next(request, answer)
        self.assertLessEqual(made, found)

    def test_a_name_that_is_none_is_refused(self):
        self.refused(400, self.accounts.create(name=self.project, body={"accountId": "x"}))


class ResourceManager(Api):
    api = "cloudresourcemanager"

    def test_the_project_and_what_the_caller_may_do(self):
        projects = self.client.projects()
        project = projects.get(name=self.project).execute()
        self.assertEqual((project["projectId"], project["state"]), (sandbox.PROJECT, "ACTIVE"))
        asked = ["compute.instances.create", "resourcemanager.projects.get"]
        held = projects.testIamPermissions(resource=self.project, body={"permissions": asked}).execute()
        self.assertEqual(held["permissions"], asked)
        self.refused(403, projects.get(name="projects/somebody-elses"))

    def test_the_policy_is_written_under_its_etag(self):
        projects = self.client.projects()
        options = {"options": {"requestedPolicyVersion": 3}}
        policy = projects.getIamPolicy(resource=self.project, body=options).execute()
        policy["bindings"].append({"role": "roles/viewer", "members": ["user:someone@example.com"]})
        request = projects.setIamPolicy(resource=self.project, body={"policy": policy})
        written = request.execute()
        self.assertNotEqual(written["etag"], policy["etag"])
        self.refused(409, request, "concurrent policy changes")
        nobody = f"serviceAccount:nobody@{sandbox.PROJECT}.iam.gserviceaccount.com"
        written["bindings"].append({"role": "roles/viewer", "members": [nobody]})
        self.refused(400, projects.setIamPolicy(resource=self.project, body={"policy": written}), "does not exist")


class ServiceUsage(Api):
    api = "serviceusage"
    name = "dns.googleapis.com"

    def done(self, operation):
        for _ in range(500):
            if operation.get("done"):
                return operation["response"]
            time.sleep(0.01)
            operation = self.client.operations().get(name=operation["name"]).execute()
        self.fail("the operation does not end")

    def test_services_are_enabled_and_disabled(self):
        services, name = self.client.services(), f"{self.project}/services/{self.name}"
        self.assertEqual(services.get(name=name).execute()["state"], "DISABLED")
        enabled = self.done(services.enable(name=name, body={}).execute())
        self.assertEqual(enabled["service"]["state"], "ENABLED")
        self.assertEqual(services.get(name=name).execute()["state"], "ENABLED")
        self.done(services.disable(name=name, body={}).execute())
        self.assertEqual(services.get(name=name).execute()["state"], "DISABLED")

    def test_many_at_once(self):
        services, names = self.client.services(), ["logging.googleapis.com", "monitoring.googleapis.com"]
        request = services.batchEnable(parent=self.project, body={"serviceIds": names})
        self.assertEqual(len(self.done(request.execute())["services"]), 2)
        asked = [f"{self.project}/services/{name}" for name in names]
        got = services.batchGet(parent=self.project, names=asked).execute()["services"]
        self.assertEqual({service["state"] for service in got}, {"ENABLED"})
        found, request = [], services.list(parent=self.project, filter="state:ENABLED", pageSize=3)
        while request is not None:
            answer = request.execute()
            found += [service["config"]["name"] for service in answer["services"]]
            request = services.list_next(request, answer)
        self.assertLessEqual(set(names), set(found))
        unknown = {"serviceIds": ["nothing.googleapis.com"]}
        self.refused(403, services.batchEnable(parent=self.project, body=unknown))


class SecretManager(Api):
    api = "secretmanager"

    def setUp(self):
        self.secrets = self.client.projects().secrets()

    def make(self, **settings):
        body = {"replication": {"automatic": {}}, **settings}
        return self.secrets.create(parent=self.project, secretId=f"s-{uuid.uuid4()}", body=body).execute()

    def add(self, secret, data):
        payload = {"data": base64.b64encode(data).decode()}
        return self.secrets.addVersion(parent=secret["name"], body={"payload": payload}).execute()

    def test_secrets_are_made_listed_changed_and_deleted(self):
        secret = self.make(labels={"team": "a"})
        self.assertEqual(self.secrets.get(name=secret["name"]).execute(), secret)
        listed = self.secrets.list(parent=self.project, filter="labels.team=a").execute()
        self.assertIn(secret, listed["secrets"])
        changed = self.secrets.patch(name=secret["name"], updateMask="labels", body={"labels": {"team": "b"}}).execute()
        self.assertEqual(changed["labels"], {"team": "b"})
        stale = {"labels": {}, "etag": secret["etag"]}
        self.refused(400, self.secrets.patch(name=secret["name"], updateMask="labels", body=stale), "etag")
        self.secrets.delete(name=secret["name"]).execute()
        self.refused(404, self.secrets.get(name=secret["name"]), "not found")

    def test_versions_hold_payloads(self):
        secret, versions = self.make(), self.secrets.versions()
        first, second = self.add(secret, b"one"), self.add(secret, b"two")
        read = lambda name: base64.b64decode(versions.access(name=name).execute()["payload"]["data"])
        self.assertEqual(read(f"{secret['name']}/versions/latest"), b"two")
        self.assertEqual(read(first["name"]), b"one")
        listed = versions.list(parent=secret["name"]).execute()["versions"]
        self.assertEqual([version["name"] for version in listed], [second["name"], first["name"]])
        self.assertEqual(versions.disable(name=first["name"], body={}).execute()["state"], "DISABLED")
        self.refused(400, versions.access(name=first["name"]), "DISABLED")
        self.assertEqual(versions.enable(name=first["name"], body={}).execute()["state"], "ENABLED")
        self.assertEqual(versions.destroy(name=first["name"], body={}).execute()["state"], "DESTROYED")
        self.assertEqual(versions.get(name=first["name"]).execute()["state"], "DESTROYED")
        self.refused(400, versions.access(name=first["name"]), "DESTROYED")

    def test_a_secret_has_a_policy(self):
        secret = self.make()
        policy = self.secrets.getIamPolicy(resource=secret["name"]).execute()
        binding = {"role": "roles/secretmanager.secretAccessor", "members": ["user:someone@example.com"]}
        policy["bindings"] = [binding]
        written = self.secrets.setIamPolicy(resource=secret["name"], body={"policy": policy}).execute()
        self.assertEqual(written["bindings"], [binding])
        asked = {"permissions": ["secretmanager.versions.access"]}
        held = self.secrets.testIamPermissions(resource=secret["name"], body=asked).execute()
        self.assertEqual(held, asked)


if __name__ == "__main__":
    # The base of the others is no test.
    del Api
    sandbox.main()
