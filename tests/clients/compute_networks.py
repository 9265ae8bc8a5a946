"""Networks, subnetworks, firewalls, addresses, and load balancers on them."""

import socket

from google.api_core import exceptions
from google.cloud import compute_v1 as compute

from compute_support import PROJECT, REGION, ZONE, Compute, client, instance

GLOBAL = {"project": PROJECT}
REGIONAL = {"project": PROJECT, "region": REGION}
ZONAL = {"project": PROJECT, "zone": ZONE}


class Networks(Compute):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.networks = client("Networks")
        cls.subnetworks = client("Subnetworks")
        cls.firewalls = client("Firewalls")
        cls.addresses = client("Addresses")

    def test_an_own_network(self):
        network = compute.Network(name="own", auto_create_subnetworks=False)
        self.done(self.networks.insert_unary(**GLOBAL, network_resource=network))
        self.assertEqual([each.name for each in self.networks.list(**GLOBAL)], ["default", "own"])
        routing = compute.Network(routing_config=compute.NetworkRoutingConfig(routing_mode="GLOBAL"))
        self.done(self.networks.patch_unary(**GLOBAL, network="own", network_resource=routing))
        self.assertEqual(self.networks.get(**GLOBAL, network="own").routing_config.routing_mode, "GLOBAL")

        named = {**REGIONAL, "subnetwork": "own"}
        inside = compute.Subnetwork(name="own", network="global/networks/own", ip_cidr_range="10.10.0.0/24")
        self.done(self.subnetworks.insert_unary(**REGIONAL, subnetwork_resource=inside))
        made = self.subnetworks.get(**named)
        logs = compute.Subnetwork(enable_flow_logs=True, fingerprint=made.fingerprint)
        self.done(self.subnetworks.patch_unary(**named, subnetwork_resource=logs))
        access = compute.SubnetworksSetPrivateIpGoogleAccessRequest(private_ip_google_access=True)
        self.done(
            self.subnetworks.set_private_ip_google_access_unary(
                **named, subnetworks_set_private_ip_google_access_request_resource=access
            )
        )
        wider = compute.SubnetworksExpandIpCidrRangeRequest(ip_cidr_range="10.10.0.0/20")
        self.done(
            self.subnetworks.expand_ip_cidr_range_unary(
                **named, subnetworks_expand_ip_cidr_range_request_resource=wider
            )
        )
        found = {each.name: each for each in self.subnetworks.list(**REGIONAL)}
        self.assertEqual(found["own"].ip_cidr_range, "10.10.0.0/20")
        self.assertTrue(found["own"].private_ip_google_access)
        everywhere = dict(self.subnetworks.aggregated_list(**GLOBAL))
        self.assertEqual(len(everywhere[f"regions/{REGION}"].subnetworks), 2)

        allowed = [compute.Allowed(I_p_protocol="tcp", ports=["9009"])]
        rule = compute.Firewall(
            name="rule", network="global/networks/own", allowed=allowed, source_ranges=["10.0.0.0/8"]
        )
        self.done(self.firewalls.insert_unary(**GLOBAL, firewall_resource=rule))
        # What uses a network is found out by the operation.
        [error] = self.ended(self.networks.delete_unary(**GLOBAL, network="own")).error.errors
        self.assertEqual(error.code, "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE")
        self.assertIn("already being used by", error.message)
        narrower = compute.Firewall(source_ranges=["10.10.0.0/20"])
        self.done(self.firewalls.patch_unary(**GLOBAL, firewall="rule", firewall_resource=narrower))
        self.assertEqual(list(self.firewalls.get(**GLOBAL, firewall="rule").source_ranges), ["10.10.0.0/20"])
        self.done(self.firewalls.update_unary(**GLOBAL, firewall="rule", firewall_resource=rule))
        self.assertEqual([list(each.source_ranges) for each in self.firewalls.list(**GLOBAL)], [["10.0.0.0/8"]])

        self.done(self.firewalls.delete_unary(**GLOBAL, firewall="rule"))
        self.done(self.subnetworks.delete_unary(**named))
        self.done(self.networks.delete_unary(**GLOBAL, network="own"))

    def test_addresses(self):
        subnetwork = f"regions/{REGION}/subnetworks/default"
        for address in [
            compute.Address(name="outside"),
            compute.Address(name="inside", address_type="INTERNAL", subnetwork=subnetwork),
        ]:
            self.done(self.addresses.insert_unary(**REGIONAL, address_resource=address))
        made = self.addresses.get(**REGIONAL, address="outside")
        labels = compute.RegionSetLabelsRequest(label_fingerprint=made.label_fingerprint, labels={"team": "a"})
        self.done(
            self.addresses.set_labels_unary(
                **REGIONAL, resource="outside", region_set_labels_request_resource=labels
            )
        )
        found = {each.name: each for each in self.addresses.list(**REGIONAL)}
        self.assertEqual(found["inside"].purpose, "GCE_ENDPOINT")
        self.assertEqual(dict(found["outside"].labels), {"team": "a"})
        everywhere = dict(self.addresses.aggregated_list(**GLOBAL))
        self.assertEqual(len(everywhere[f"regions/{REGION}"].addresses), 2)
        last = self.addresses.delete_unary(**REGIONAL, address="inside")
        self.assertEqual(self.region_operations.get(**REGIONAL, operation=last.name).operation_type, "delete")
        self.assertIn(last.name, [each.name for each in self.region_operations.list(**REGIONAL)])
        self.done(last)
        self.done(self.addresses.delete_unary(**REGIONAL, address="outside"))


class LoadBalancers(Compute):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.checks = client("RegionHealthChecks")
        cls.groups = client("InstanceGroups")
        cls.services = client("RegionBackendServices")
        cls.rules = client("ForwardingRules")
        cls.instances = client("Instances")

    def test_global_health_checks(self):
        checks = client("HealthChecks")
        named = {**GLOBAL, "health_check": "page"}
        page = compute.HTTPHealthCheck(port=8080, request_path="/ready")
        check = compute.HealthCheck(name="page", type_="HTTP", http_health_check=page)
        self.done(checks.insert_unary(**GLOBAL, health_check_resource=check))
        slower = compute.HealthCheck(check_interval_sec=30)
        last = checks.patch_unary(**named, health_check_resource=slower)
        self.assertEqual(self.global_operations.get(**GLOBAL, operation=last.name).operation_type, "patch")
        self.done(last)
        self.assertIn(last.name, [each.name for each in self.global_operations.list(**GLOBAL)])
        made = checks.get(**named)
        self.assertEqual((made.check_interval_sec, made.http_health_check.request_path), (30, "/ready"))
        self.done(checks.update_unary(**named, health_check_resource=check))
        self.assertEqual([each.check_interval_sec for each in checks.list(**GLOBAL)], [5])
        everywhere = dict(checks.aggregated_list(**GLOBAL))
        self.assertEqual([each.name for each in everywhere["global"].health_checks], ["page"])
        self.done(checks.delete_unary(**named))

    def test_a_load_balancer(self):
        self.done(self.instances.insert_unary(**ZONAL, instance_resource=instance("backend")))
        own = self.instances.get(**ZONAL, instance="backend")
        group = {**ZONAL, "instance_group": "group"}
        body = compute.InstanceGroup(name="group")
        self.done(self.groups.insert_unary(**ZONAL, instance_group_resource=body))
        member = [compute.InstanceReference(instance=own.self_link)]
        add = compute.InstanceGroupsAddInstancesRequest(instances=member)
        add = {**group, "instance_groups_add_instances_request_resource": add}
        self.done(self.groups.add_instances_unary(**add))
        with self.assertRaisesRegex(exceptions.BadRequest, "is already a member of"):
            self.groups.add_instances_unary(**add)
        ports = [compute.NamedPort(name="mimir", port=9009)]
        ports = compute.InstanceGroupsSetNamedPortsRequest(named_ports=ports)
        self.done(
            self.groups.set_named_ports_unary(**group, instance_groups_set_named_ports_request_resource=ports)
        )
        made = self.groups.get(**group)
        self.assertEqual((made.size, made.named_ports[0].port), (1, 9009))
        every = compute.InstanceGroupsListInstancesRequest(instance_state="ALL")
        members = self.groups.list_instances(**group, instance_groups_list_instances_request_resource=every)
        self.assertEqual([each.instance for each in members], [own.self_link])
        self.assertEqual([each.name for each in self.groups.list(**ZONAL)], ["group"])
        everywhere = dict(self.groups.aggregated_list(**GLOBAL))
        self.assertEqual(len(everywhere[f"zones/{ZONE}"].instance_groups), 1)

        # The backend: whatever connects is greeted.
        server = socket.create_server((own.network_interfaces[0].network_i_p, 7005))
        self.addCleanup(server.close)
        named = {**REGIONAL, "health_check": "tcp"}
        check = compute.HealthCheck(
            name="tcp",
            type_="TCP",
            check_interval_sec=1,
            timeout_sec=1,
            healthy_threshold=1,
            tcp_health_check=compute.TCPHealthCheck(port=7005),
        )
        self.done(self.checks.insert_unary(**REGIONAL, health_check_resource=check))
        described = compute.HealthCheck(description="the port")
        self.done(self.checks.patch_unary(**named, health_check_resource=described))
        self.assertEqual(self.checks.get(**named).description, "the port")
        self.done(self.checks.update_unary(**named, health_check_resource=check))
        self.assertEqual([each.name for each in self.checks.list(**REGIONAL)], ["tcp"])

        service = {**REGIONAL, "backend_service": "service"}
        body = compute.BackendService(
            name="service",
            load_balancing_scheme="INTERNAL",
            protocol="TCP",
            health_checks=[f"regions/{REGION}/healthChecks/tcp"],
            backends=[compute.Backend(group=made.self_link)],
        )
        self.done(self.services.insert_unary(**REGIONAL, backend_service_resource=body))
        made_service = self.services.get(**service)
        affine = compute.BackendService(session_affinity="CLIENT_IP", fingerprint=made_service.fingerprint)
        self.done(self.services.patch_unary(**service, backend_service_resource=affine))
        with self.assertRaises(exceptions.PreconditionFailed):
            self.services.patch_unary(**service, backend_service_resource=affine)
        body.fingerprint = self.services.get(**service).fingerprint
        self.done(self.services.update_unary(**service, backend_service_resource=body))
        self.assertEqual([each.session_affinity for each in self.services.list(**REGIONAL)], ["NONE"])
        everywhere = dict(client("BackendServices").aggregated_list(**GLOBAL))
        self.assertEqual(len(everywhere[f"regions/{REGION}"].backend_services), 1)

        rule = {**REGIONAL, "forwarding_rule": "rule"}
        body = compute.ForwardingRule(
            name="rule",
            load_balancing_scheme="INTERNAL",
            I_p_protocol="TCP",
            ports=["7005"],
            backend_service=made_service.self_link,
            subnetwork=f"regions/{REGION}/subnetworks/default",
        )
        self.done(self.rules.insert_unary(**REGIONAL, forwarding_rule_resource=body))
        front = self.rules.get(**rule)
        everyone = compute.ForwardingRule(allow_global_access=True, fingerprint=front.fingerprint)
        self.done(self.rules.patch_unary(**rule, forwarding_rule_resource=everyone))
        labels = compute.RegionSetLabelsRequest(label_fingerprint=front.label_fingerprint, labels={"team": "a"})
        self.done(
            self.rules.set_labels_unary(
                **REGIONAL, resource="rule", region_set_labels_request_resource=labels
            )
        )
        labelled = compute.ListForwardingRulesRequest(**REGIONAL, filter="labels.team=a")
        self.assertTrue(all(each.allow_global_access for each in self.rules.list(labelled)))
        everywhere = dict(self.rules.aggregated_list(**GLOBAL))
        self.assertEqual(len(everywhere[f"regions/{REGION}"].forwarding_rules), 1)

        asked = compute.ResourceGroupReference(group=made.self_link)

        def health():
            answer = self.services.get_health(**service, resource_group_reference_resource=asked)
            return [(each.instance, each.health_state) for each in answer.health_status]

        self.eventually("the backend is healthy", lambda: health() == [(own.self_link, "HEALTHY")])
        with socket.create_connection((front.I_p_address, 7005), timeout=30) as to_front:
            # Health checks connect as well, and say nothing.
            to_front.sendall(b"hello")
            while True:
                to_backend, _ = server.accept()
                to_backend.settimeout(30)
                if to_backend.recv(5) == b"hello":
                    break
                to_backend.close()
            to_backend.sendall(b"there")
            self.assertEqual(to_front.recv(5), b"there")
            to_backend.close()
        server.close()
        self.eventually("nobody is healthy", lambda: health() == [(own.self_link, "UNHEALTHY")])

        self.done(self.rules.delete_unary(**rule))
        self.done(self.services.delete_unary(**service))
        self.done(self.checks.delete_unary(**named))
        remove = compute.InstanceGroupsRemoveInstancesRequest(instances=member)
        self.done(
            self.groups.remove_instances_unary(
                **group, instance_groups_remove_instances_request_resource=remove
            )
        )
        self.done(self.groups.delete_unary(**group))
        self.done(self.instances.delete_unary(**ZONAL, instance="backend"))
