"""What the scripts about Compute Engine share."""

import time
import unittest

from google.cloud import compute_v1 as compute

import sandbox

PROJECT, REGION, ZONE = sandbox.PROJECT, "europe-west1", "europe-west1-b"


def client(kind):
    """A client of that kind (`Disks`), by REST as always."""
    found = getattr(compute, f"{kind}Client")
    address = {"api_endpoint": sandbox.endpoint("compute")}
    return found(credentials=sandbox.credentials(), client_options=address)


def instance(name, **settings):
    """A small instance of the zone."""
    boot = compute.AttachedDisk(
        boot=True,
        auto_delete=True,
        initialize_params=compute.AttachedDiskInitializeParams(
            source_image="projects/debian-cloud/global/images/family/debian-12", disk_size_gb=10
        ),
    )
    settings.setdefault("network_interfaces", [compute.NetworkInterface(network="global/networks/default")])
    disks = [boot, *settings.pop("disks", [])]
    return compute.Instance(
        name=name, machine_type=f"zones/{ZONE}/machineTypes/e2-medium", disks=disks, **settings
    )


class Compute(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.zone_operations = client("ZoneOperations")
        cls.region_operations = client("RegionOperations")
        cls.global_operations = client("GlobalOperations")

    def ended(self, operation):
        """Waits for an operation as the API offers it: the request is held. (What the
        client returns without `_unary` asks compute.googleapis.com, whatever the
        client's endpoint is.)"""
        place = {"project": PROJECT, "operation": operation.name}
        while operation.status != compute.Operation.Status.DONE:
            if operation.zone:
                operation = self.zone_operations.wait(zone=ZONE, **place)
            elif operation.region:
                operation = self.region_operations.wait(region=REGION, **place)
            else:
                operation = self.global_operations.wait(**place)
        return operation

    def done(self, operation):
        operation = self.ended(operation)
        self.assertEqual(list(operation.error.errors), [])
        return operation

    def eventually(self, what, holds):
        """Asks again until it holds."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
            time.sleep(0.02)
        return self.fail(f"never: {what}")
