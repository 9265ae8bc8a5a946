"""Instances: from insert to delete, and what a machine tells about itself."""

import uuid

from google.api_core import exceptions
from google.cloud import compute_v1 as compute

from compute_support import PROJECT, ZONE, Compute, client, instance

# What a machine runs: a line on the serial port, a guest attribute, no more.
STARTUP = """#!/bin/bash
echo "hello from $(curl -sf --noproxy '*' -H 'Metadata-Flavor: Google' \
    "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/name")"
curl -sf --noproxy '*' -X PUT --data ready -H 'Metadata-Flavor: Google' \
    "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/test/stage"
"""


def items(**values):
    return [compute.Items(key=key.replace("_", "-"), value=value) for key, value in values.items()]


class Instances(Compute):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.instances = client("Instances")
        cls.disks = client("Disks")

    def on(self, name):
        return {"project": PROJECT, "zone": ZONE, "instance": name}

    def insert(self, name, **settings):
        body = instance(name, **settings)
        self.done(self.instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=body))
        return self.instances.get(**self.on(name))

    def test_a_machine_lives(self):
        metadata = compute.Metadata(items=items(startup_script=STARTUP, enable_guest_attributes="TRUE"))
        made = self.insert("lives", metadata=metadata, labels={"team": "a"})
        self.assertEqual(made.status, "RUNNING")
        self.assertTrue(made.network_interfaces[0].network_i_p)

        def printed(start=0):
            asked = compute.GetSerialPortOutputInstanceRequest(**self.on("lives"), start=start)
            output = self.instances.get_serial_port_output(asked)
            return output if "hello from lives" in output.contents else None

        def attributes():
            asked = compute.GetGuestAttributesInstanceRequest(**self.on("lives"), query_path="test/")
            try:
                return self.instances.get_guest_attributes(asked)
            except exceptions.NotFound:
                return None

        output = self.eventually("the machine says hello", printed)
        self.assertIsNone(printed(output.next_))
        found = self.eventually("the machine is ready", attributes)
        self.assertEqual([(each.key, each.value) for each in found.query_value.items], [("stage", "ready")])

        changed = compute.Metadata(fingerprint=made.metadata.fingerprint, items=items(a="1"))
        self.done(self.instances.set_metadata_unary(**self.on("lives"), metadata_resource=changed))
        with self.assertRaises(exceptions.PreconditionFailed):
            self.instances.set_metadata_unary(**self.on("lives"), metadata_resource=changed)
        labels = compute.InstancesSetLabelsRequest(
            label_fingerprint=made.label_fingerprint, labels={"team": "b"}
        )
        self.done(
            self.instances.set_labels_unary(
                **self.on("lives"), instances_set_labels_request_resource=labels
            )
        )
        tags = compute.Tags(fingerprint=made.tags.fingerprint, items=["web"])
        self.done(self.instances.set_tags_unary(**self.on("lives"), tags_resource=tags))
        scheduling = compute.Scheduling(automatic_restart=False)
        self.done(self.instances.set_scheduling_unary(**self.on("lives"), scheduling_resource=scheduling))
        now = self.instances.get(**self.on("lives"))
        self.assertEqual((dict(now.labels), list(now.tags.items)), ({"team": "b"}, ["web"]))
        self.assertEqual([each.key for each in now.metadata.items], ["a"])
        self.assertFalse(now.scheduling.automatic_restart)

        self.done(self.instances.reset_unary(**self.on("lives")))
        self.done(self.instances.suspend_unary(**self.on("lives")))
        self.assertEqual(self.instances.get(**self.on("lives")).status, "SUSPENDED")
        self.done(self.instances.resume_unary(**self.on("lives")))
        self.assertEqual(self.instances.get(**self.on("lives")).status, "RUNNING")
        self.done(self.instances.stop_unary(**self.on("lives")))
        self.assertEqual(self.instances.get(**self.on("lives")).status, "TERMINATED")
        kind = compute.InstancesSetMachineTypeRequest(machine_type=f"zones/{ZONE}/machineTypes/e2-small")
        self.done(
            self.instances.set_machine_type_unary(
                **self.on("lives"), instances_set_machine_type_request_resource=kind
            )
        )
        shielded = compute.ShieldedInstanceConfig(enable_secure_boot=True)
        self.done(
            self.instances.update_shielded_instance_config_unary(
                **self.on("lives"), shielded_instance_config_resource=shielded
            )
        )
        nobody = compute.InstancesSetServiceAccountRequest(email="")
        self.done(
            self.instances.set_service_account_unary(
                **self.on("lives"), instances_set_service_account_request_resource=nobody
            )
        )
        self.assertTrue(self.instances.get(**self.on("lives")).shielded_instance_config.enable_secure_boot)
        self.done(self.instances.start_unary(**self.on("lives")))
        self.done(
            self.instances.set_deletion_protection_unary(project=PROJECT, zone=ZONE, resource="lives")
        )
        with self.assertRaisesRegex(exceptions.BadRequest, "protected against deletion"):
            self.instances.delete_unary(**self.on("lives"))
        free = compute.SetDeletionProtectionInstanceRequest(
            project=PROJECT, zone=ZONE, resource="lives", deletion_protection=False
        )
        self.done(self.instances.set_deletion_protection_unary(free))
        with self.assertRaises(exceptions.MethodNotImplemented):
            self.instances.simulate_maintenance_event_unary(**self.on("lives"))
        self.done(self.instances.delete_unary(**self.on("lives")))
        with self.assertRaises(exceptions.NotFound):
            self.instances.get(**self.on("lives"))

    def test_disks_come_and_go(self):
        self.insert("holder")
        disk = compute.Disk(name="loose", size_gb=20)
        self.done(self.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=disk))
        attached = compute.AttachedDisk(source=f"zones/{ZONE}/disks/loose", device_name="data")
        self.done(self.instances.attach_disk_unary(**self.on("holder"), attached_disk_resource=attached))
        with self.assertRaisesRegex(exceptions.BadRequest, "already being used by"):
            self.disks.delete_unary(project=PROJECT, zone=ZONE, disk="loose")
        self.done(
            self.instances.set_disk_auto_delete_unary(**self.on("holder"), auto_delete=True, device_name="data")
        )
        names = [each.device_name for each in self.instances.get(**self.on("holder")).disks]
        self.assertEqual(names, ["persistent-disk-0", "data"])
        self.done(self.instances.detach_disk_unary(**self.on("holder"), device_name="data"))
        self.done(self.disks.delete_unary(project=PROJECT, zone=ZONE, disk="loose"))
        self.done(self.instances.delete_unary(**self.on("holder")))

    def test_lists_have_filters_and_pages(self):
        for name in ["list-a", "list-b", "list-c"]:
            self.insert(name, labels={"list": "yes"})
        asked = compute.ListInstancesRequest(
            project=PROJECT, zone=ZONE, filter="labels.list = yes AND status = RUNNING", max_results=2
        )
        pages = [[each.name for each in page.items] for page in self.instances.list(asked).pages]
        self.assertEqual(pages, [["list-a", "list-b"], ["list-c"]])
        newest = compute.ListInstancesRequest(
            project=PROJECT, zone=ZONE, filter='name eq "list-.*"', order_by="creationTimestamp desc"
        )
        self.assertEqual([each.name for each in self.instances.list(newest)], ["list-c", "list-b", "list-a"])
        either = compute.ListInstancesRequest(
            project=PROJECT, zone=ZONE, filter="(name = list-a) OR (name = list-b AND NOT labels.none:*)"
        )
        self.assertEqual([each.name for each in self.instances.list(either)], ["list-a", "list-b"])
        everywhere = compute.AggregatedListInstancesRequest(project=PROJECT, filter="labels.list=yes")
        parts = self.instances.aggregated_list(everywhere)
        found = {scope: [each.name for each in part.instances] for scope, part in parts}
        self.assertEqual(found[f"zones/{ZONE}"], ["list-a", "list-b", "list-c"])
        self.assertEqual(found["zones/us-east1-b"], [])
        bad = compute.ListInstancesRequest(project=PROJECT, zone=ZONE, filter="no sense")
        with self.assertRaises(exceptions.BadRequest):
            self.instances.list(bad)
        for name in ["list-a", "list-b", "list-c"]:
            self.done(self.instances.delete_unary(**self.on(name)))

    def test_a_repeated_request_is_the_same_operation(self):
        request = compute.InsertInstanceRequest(
            project=PROJECT, zone=ZONE, instance_resource=instance("once"), request_id=str(uuid.uuid4())
        )
        first = self.instances.insert_unary(request)
        self.assertEqual(self.instances.insert_unary(request).name, first.name)
        self.done(first)
        with self.assertRaises(exceptions.Conflict):
            self.instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=instance("once"))
        operations = compute.ListZoneOperationsRequest(project=PROJECT, zone=ZONE, filter=f"name={first.name}")
        self.assertEqual([each.progress for each in self.zone_operations.list(operations)], [100])
        place = {"project": PROJECT, "zone": ZONE}
        self.assertEqual(self.zone_operations.get(**place, operation=first.name).operation_type, "insert")
        self.done(self.instances.delete_unary(**self.on("once")))

    def test_what_is_there_before(self):
        self.assertEqual(client("Projects").get(project=PROJECT).name, PROJECT)
        self.assertIn(ZONE, [zone.name for zone in client("Zones").list(project=PROJECT)])
        self.assertEqual(client("Zones").get(project=PROJECT, zone=ZONE).status, "UP")
        region = client("Regions").get(project=PROJECT, region="europe-west1")
        self.assertIn("CPUS", [quota.metric for quota in region.quotas])
        self.assertEqual(len(list(client("Regions").list(project=PROJECT))), 41)
        kinds = client("MachineTypes")
        self.assertEqual(kinds.get(project=PROJECT, zone=ZONE, machine_type="e2-medium").guest_cpus, 2)
        self.assertGreater(len(list(kinds.list(project=PROJECT, zone=ZONE))), 5)
        disks = client("DiskTypes")
        self.assertEqual(disks.get(project=PROJECT, zone=ZONE, disk_type="pd-ssd").name, "pd-ssd")
        self.assertEqual(len(list(disks.list(project=PROJECT, zone=ZONE))), 5)
        images = client("Images")
        image = images.get_from_family(project="debian-cloud", family="debian-12")
        self.assertEqual(images.get(project="debian-cloud", image=image.name).family, "debian-12")
