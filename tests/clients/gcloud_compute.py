"""Compute Engine by gcloud: each kind made, listed, described, changed, deleted."""

import unittest

from gcloud import IN_REGION, IN_ZONE, PROJECT, REGION, ZONE, Gcloud


class Networks(Gcloud):
    def test_networks_rules_and_addresses(self):
        gcloud, value, names = self.gcloud, self.value, self.names
        gcloud("compute", "networks", "create", "net", "--subnet-mode=custom")
        subnets = ["compute", "networks", "subnets"]
        gcloud(*subnets, "create", "sub", "--network=net", "--range=10.9.0.0/24", IN_REGION)
        gcloud(*subnets, "update", "sub", IN_REGION, "--enable-private-ip-google-access")
        self.assertEqual(value("privateIpGoogleAccess", *subnets, "describe", "sub", IN_REGION), "True")
        self.assertEqual(names(*subnets, "list", "--network=net"), ["sub"])

        rules = ["compute", "firewall-rules"]
        gcloud(*rules, "create", "fw", "--network=net", "--allow=tcp:22", "--source-ranges=10.0.0.0/8")
        gcloud(*rules, "update", "fw", "--allow=tcp:443", "--priority=900")
        self.assertEqual(value("allowed[0].ports,priority", *rules, "describe", "fw"), "443\t900")
        # gcloud has the server filter by names, with \b at their ends.
        self.assertEqual(names(*rules, "list", "--filter=name=fw"), ["fw"])
        self.assertEqual(names(*rules, "list", "--filter=name=f"), [])
        self.refused("IPv4 and IPv6", *rules, "update", "fw", "--source-ranges=10.0.0.0/8,2001:db8::/32")
        gcloud(*rules, "delete", "fw")

        addresses = ["compute", "addresses"]
        gcloud(*addresses, "create", "ip", IN_REGION)
        self.assertEqual(names(*addresses, "list", f"--filter=region:{REGION}"), ["ip"])
        self.assertEqual(value("status", *addresses, "describe", "ip", IN_REGION), "RESERVED")
        gcloud(*addresses, "delete", "ip", IN_REGION)
        gcloud(*subnets, "delete", "sub", IN_REGION)
        gcloud("compute", "networks", "delete", "net")
        self.assertEqual(names("compute", "networks", "list"), ["default"])


class Disks(Gcloud):
    def test_disks_schedules_and_snapshots(self):
        gcloud, value, names = self.gcloud, self.value, self.names
        disks, policies, snapshots = ["compute", "disks"], ["compute", "resource-policies"], ["compute", "snapshots"]
        gcloud(*disks, "create", "dk", "--size=10", "--type=pd-ssd", IN_ZONE)
        # The image's family in a zone's form.
        gcloud(*disks, "create", "image", "--size=10", "--image-family=debian-12", "--image-project=debian-cloud", IN_ZONE)
        self.assertEqual(sorted(names(*disks, "list")), ["dk", "image"])
        gcloud(*disks, "resize", "dk", "--size=20", IN_ZONE)
        gcloud(*disks, "update", "dk", "--update-labels=a=b", IN_ZONE)
        self.assertEqual(value("sizeGb,labels.a", *disks, "describe", "dk", IN_ZONE), "20\tb")
        schedule = ["create", "snapshot-schedule", "pol", IN_REGION, "--daily-schedule", "--start-time=04:00"]
        gcloud(*policies, *schedule, "--max-retention-days=7")
        gcloud(*policies, "update", "snapshot-schedule", "pol", IN_REGION, "--description=changed")
        self.assertEqual(value("description", *policies, "describe", "pol", IN_REGION), "changed")
        self.assertEqual(names(*policies, "list"), ["pol"])
        gcloud(*disks, "add-resource-policies", "dk", "--resource-policies=pol", IN_ZONE)
        gcloud(*disks, "remove-resource-policies", "dk", "--resource-policies=pol", IN_ZONE)
        gcloud(*disks, "snapshot", "dk", "--snapshot-names=shot", IN_ZONE)
        self.assertEqual(names(*snapshots, "list"), ["shot"])
        self.assertEqual(value("diskSizeGb", *snapshots, "describe", "shot"), "20")
        gcloud(*snapshots, "delete", "shot")
        gcloud(*policies, "delete", "pol", IN_REGION)
        gcloud(*disks, "delete", "dk", "image", IN_ZONE)
        self.assertEqual(names(*disks, "list"), [])


class Instances(Gcloud):
    @classmethod
    def setUpClass(cls):
        made = ["--machine-type=e2-small", "--image-family=debian-12", "--image-project=debian-cloud"]
        # As the account `default`.
        cls().gcloud("compute", "instances", "create", "vm", IN_ZONE, *made, "--metadata=a=b", "--tags=t", "--labels=x=y")
        cls.addClassCleanup(lambda: cls().gcloud("compute", "instances", "delete", "vm", IN_ZONE))

    def on(self, verb, *words, name="vm"):
        return self.gcloud("compute", "instances", verb, name, IN_ZONE, *words)

    def shown(self, field):
        return self.value(field, "compute", "instances", "describe", "vm", IN_ZONE)

    def test_a_machine_is_listed_and_changed(self):
        self.assertEqual(self.names("compute", "instances", "list", "--filter=labels.x=y"), ["vm"])
        self.assertRegex(self.shown("serviceAccounts[0].email"), r"^\d+-compute@developer\.gserviceaccount\.com$")
        self.on("update", "--deletion-protection", "--update-labels=c=d")
        self.assertEqual(self.shown("deletionProtection,labels.c"), "True\td")
        self.refused("protected against deletion", "compute", "instances", "delete", "vm", IN_ZONE)
        self.on("update", "--no-deletion-protection")
        self.assertEqual(self.shown("deletionProtection"), "False")
        self.on("add-metadata", "--metadata=enable-guest-attributes=TRUE")
        self.on("add-tags", "--tags=u")
        self.on("set-disk-auto-delete", "--disk=vm", "--no-auto-delete")
        self.on("set-disk-auto-delete", "--disk=vm", "--auto-delete")
        self.on("get-serial-port-output")
        # By its number, too.
        self.assertEqual(self.value("name", "compute", "instances", "describe", self.shown("id"), IN_ZONE), "vm")
        self.gcloud("compute", "disks", "create", "more", "--size=10", IN_ZONE)
        self.on("attach-disk", "--disk=more")
        self.on("detach-disk", "--disk=more")
        self.gcloud("compute", "disks", "delete", "more", IN_ZONE)
        self.on("stop")
        self.on("set-machine-type", "--machine-type=e2-custom-2-4096")
        self.on("set-service-account", "--no-service-account", "--no-scopes")
        self.on("set-scheduling", "--no-restart-on-failure")
        self.refused("do not support onHostMaintenance", "compute", "instances", "set-scheduling", "vm", IN_ZONE, "--maintenance-policy=TERMINATE")
        self.on("start")
        self.on("reset")
        self.on("suspend")
        self.assertEqual(self.shown("status"), "SUSPENDED")
        self.on("resume")
        self.assertEqual(self.shown("machineType.basename(),status"), "e2-custom-2-4096\tRUNNING")

    def test_a_group_of_machines_behind_an_address(self):
        gcloud, names = self.gcloud, self.names
        groups = ["compute", "instance-groups", "unmanaged"]
        gcloud(*groups, "create", "ig", IN_ZONE)
        gcloud(*groups, "add-instances", "ig", "--instances=vm", IN_ZONE)
        gcloud(*groups, "set-named-ports", "ig", "--named-ports=http:80", IN_ZONE)
        self.assertEqual(self.value("size", *groups, "describe", "ig", IN_ZONE), "1")
        self.assertEqual(gcloud(*groups, "list-instances", "ig", IN_ZONE, "--format=value(instance.basename())").split(), ["vm"])
        self.assertEqual(names("compute", "instance-groups", "list"), ["ig"])
        checks, services, rules = (["compute", kind] for kind in ("health-checks", "backend-services", "forwarding-rules"))
        gcloud(*checks, "create", "tcp", "hc", "--port=80", IN_REGION)
        gcloud(*checks, "update", "tcp", "hc", "--port=81", IN_REGION)
        self.assertEqual(names(*checks, "list"), ["hc"])
        scheme = ["--load-balancing-scheme=internal"]
        gcloud(*services, "create", "bs", *scheme, "--protocol=tcp", "--health-checks=hc", f"--health-checks-region={REGION}", IN_REGION)
        group = ["--instance-group=ig", f"--instance-group-zone={ZONE}", IN_REGION]
        gcloud(*services, "add-backend", "bs", *group)
        gcloud(*services, "update", "bs", IN_REGION, "--description=changed")
        self.assertEqual(names(*services, "list"), ["bs"])
        self.assertIn("healthState", gcloud(*services, "get-health", "bs", IN_REGION))
        gcloud(*rules, "create", "fr", IN_REGION, *scheme, "--backend-service=bs", "--subnet=default", "--network=default", "--ports=80")
        gcloud(*rules, "update", "fr", IN_REGION, "--update-labels=a=b")
        self.assertEqual(self.value("labels.a", *rules, "describe", "fr", IN_REGION), "b")
        self.assertEqual(names(*rules, "list"), ["fr"])
        gcloud(*rules, "delete", "fr", IN_REGION)
        gcloud(*services, "remove-backend", "bs", *group)
        gcloud(*services, "delete", "bs", IN_REGION)
        gcloud(*checks, "delete", "hc", IN_REGION)
        gcloud(*groups, "remove-instances", "ig", "--instances=vm", IN_ZONE)
        gcloud(*groups, "delete", "ig", IN_ZONE)


class Catalogue(Gcloud):
    def test_what_is_there_before_anybody_makes_anything(self):
        names = self.names
        self.assertIn("europe-west10-c", names("compute", "zones", "list"))
        self.assertIn("me-central2", names("compute", "regions", "list"))
        self.assertIn("e2-small", names("compute", "machine-types", "list", f"--zones={ZONE}"))
        self.assertEqual(self.value("guestCpus", "compute", "machine-types", "describe", "n2-custom-6-6144", IN_ZONE), "6")
        self.assertIn("pd-ssd", names("compute", "disk-types", "list", f"--filter=zone:{ZONE}"))
        images = ["compute", "images"]
        self.assertTrue(names(*images, "list", "--no-standard-images", "--project=debian-cloud"))
        self.assertEqual(self.value("family", *images, "describe-from-family", "debian-12", "--project=debian-cloud"), "debian-12")
        self.gcloud("compute", "operations", "list", "--limit=3")
        self.assertEqual(self.value("name", "compute", "project-info", "describe"), PROJECT)


if __name__ == "__main__":
    unittest.main(verbosity=2)
