"""Disks, snapshots and schedules."""

from google.api_core import exceptions
from google.cloud import compute_v1 as compute

from compute_support import PROJECT, REGION, ZONE, Compute, client


class Disks(Compute):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.disks = client("Disks")
        cls.snapshots = client("Snapshots")
        cls.policies = client("ResourcePolicies")

    def on(self, name):
        return {"project": PROJECT, "zone": ZONE, "disk": name}

    def insert(self, **settings):
        disk = compute.Disk(**settings)
        self.done(self.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=disk))
        return self.disks.get(**self.on(disk.name))

    def test_a_disk_lives(self):
        kind = f"zones/{ZONE}/diskTypes/pd-ssd"
        made = self.insert(name="disk", size_gb=20, labels={"team": "a"}, type_=kind)
        self.assertEqual((made.size_gb, made.status), (20, "READY"))
        larger = compute.DisksResizeRequest(size_gb=30)
        self.done(self.disks.resize_unary(**self.on("disk"), disks_resize_request_resource=larger))
        with self.assertRaises(exceptions.BadRequest):
            self.disks.resize_unary(**self.on("disk"), disks_resize_request_resource=larger)
        labels = compute.ZoneSetLabelsRequest(label_fingerprint=made.label_fingerprint, labels={"team": "b"})
        self.done(
            self.disks.set_labels_unary(
                project=PROJECT, zone=ZONE, resource="disk", zone_set_labels_request_resource=labels
            )
        )
        asked = compute.ListDisksRequest(project=PROJECT, zone=ZONE, filter="labels.team=b AND sizeGb > 20")
        self.assertEqual([each.size_gb for each in self.disks.list(asked)], [30])
        everywhere = dict(self.disks.aggregated_list(project=PROJECT))
        self.assertIn("disk", [each.name for each in everywhere[f"zones/{ZONE}"].disks])
        self.done(self.disks.delete_unary(**self.on("disk")))
        with self.assertRaises(exceptions.NotFound):
            self.disks.get(**self.on("disk"))

    def test_names_and_labels_are_held_to_their_syntax(self):
        for bad in [{"name": "Upper"}, {"name": "x" * 64}, {"name": "ok", "labels": {"Team": "a"}}]:
            with self.assertRaises(exceptions.BadRequest):
                self.insert(**bad)

    def test_snapshots(self):
        self.insert(name="source", size_gb=15)
        snapshot = compute.Snapshot(name="snap", labels={"team": "a"})
        self.done(self.disks.create_snapshot_unary(**self.on("source"), snapshot_resource=snapshot))
        made = self.snapshots.get(project=PROJECT, snapshot="snap")
        self.assertEqual((made.status, made.disk_size_gb), ("READY", 15))
        labels = compute.GlobalSetLabelsRequest(label_fingerprint=made.label_fingerprint, labels={"team": "b"})
        self.done(
            self.snapshots.set_labels_unary(
                project=PROJECT, resource="snap", global_set_labels_request_resource=labels
            )
        )
        again = compute.Snapshot(name="again", source_disk=f"zones/{ZONE}/disks/source")
        self.done(self.snapshots.insert_unary(project=PROJECT, snapshot_resource=again))
        self.assertEqual([each.name for each in self.snapshots.list(project=PROJECT)], ["again", "snap"])
        restored = self.insert(name="restored", source_snapshot="global/snapshots/snap")
        self.assertEqual((restored.size_gb, restored.source_snapshot_id), (15, str(made.id)))
        for name in ["snap", "again"]:
            self.done(self.snapshots.delete_unary(project=PROJECT, snapshot=name))
        for name in ["source", "restored"]:
            self.done(self.disks.delete_unary(**self.on(name)))

    def test_schedules(self):
        place = {"project": PROJECT, "region": REGION}
        daily = compute.ResourcePolicyDailyCycle(days_in_cycle=1, start_time="04:00")
        schedule = compute.ResourcePolicySnapshotSchedulePolicySchedule(daily_schedule=daily)
        schedule = compute.ResourcePolicySnapshotSchedulePolicy(schedule=schedule)
        policy = compute.ResourcePolicy(name="daily", snapshot_schedule_policy=schedule)
        self.done(self.policies.insert_unary(**place, resource_policy_resource=policy))
        link = self.policies.get(**place, resource_policy="daily").self_link
        changed = compute.ResourcePolicy(description="every day")
        self.done(
            self.policies.patch_unary(**place, resource_policy="daily", resource_policy_resource=changed)
        )
        self.insert(name="kept", size_gb=10)
        add = compute.DisksAddResourcePoliciesRequest(resource_policies=[link])
        self.done(
            self.disks.add_resource_policies_unary(
                **self.on("kept"), disks_add_resource_policies_request_resource=add
            )
        )
        with self.assertRaisesRegex(exceptions.BadRequest, "already being used"):
            self.policies.delete_unary(**place, resource_policy="daily")
        remove = compute.DisksRemoveResourcePoliciesRequest(resource_policies=[link])
        self.done(
            self.disks.remove_resource_policies_unary(
                **self.on("kept"), disks_remove_resource_policies_request_resource=remove
            )
        )
        self.assertEqual([each.description for each in self.policies.list(**place)], ["every day"])
        everywhere = dict(self.policies.aggregated_list(project=PROJECT))
        self.assertEqual(len(everywhere[f"regions/{REGION}"].resource_policies), 1)
        self.done(self.policies.delete_unary(**place, resource_policy="daily"))
        self.done(self.disks.delete_unary(**self.on("kept")))
