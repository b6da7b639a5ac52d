"""seed.py: what the demo cloud contains, by the APIs; each call is idempotent.

    seed.py catalog   service users, services, endpoints, the demo project (needs Keystone only)
    seed.py objects   networks, security group rules, flavors, image (needs all APIs)

Runs in ctl with the administrator's OS_* variables, SERVICE_PASSWORD, DEMO_PASSWORD and CTL_IP.
"""
import os
import sys

import openstack

IP = os.environ["CTL_IP"]
SERVICES = [  # name, type, URL
    ("glance", "image", f"http://{IP}:9292"),
    ("placement", "placement", f"http://{IP}:8778"),
    ("nova", "compute", f"http://{IP}:8774/v2.1"),
    ("neutron", "network", f"http://{IP}:9696"),
]


def by_name(objects, name):
    return next((o for o in objects if o.name == name), None)


def catalog(cloud):
    identity = cloud.identity
    roles = {r.name: r for r in identity.roles()}
    service_role = roles.get("service") or identity.create_role(name="service")
    projects, users = list(identity.projects()), list(identity.users())

    def project(name):
        return by_name(projects, name) or identity.create_project(name=name, domain_id="default")

    def user(name, password, of, granted):
        u = by_name(users, name) or identity.create_user(
            name=name, password=password, domain_id="default", default_project_id=of.id)
        for role in granted:
            identity.assign_project_role_to_user(of, u, role)

    service, demo = project("service"), project("demo")
    for name, _, _ in SERVICES:
        user(name, os.environ["SERVICE_PASSWORD"], service, [roles["admin"], service_role])
    user("demo", os.environ["DEMO_PASSWORD"], demo, [roles["member"]])

    services, endpoints = list(identity.services()), list(identity.endpoints())
    for name, kind, url in SERVICES:
        s = by_name(services, name) or identity.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            if not any(e.service_id == s.id and e.interface == interface for e in endpoints):
                identity.create_endpoint(service_id=s.id, interface=interface, url=url, region_id="RegionOne")


def objects(cloud):
    network, compute = cloud.network, cloud.compute
    demo = cloud.identity.find_project("demo")

    def net(name, **kw):
        return network.find_network(name) or network.create_network(name=name, **kw)

    def subnet(name, of, **kw):
        return network.find_subnet(name) or network.create_subnet(
            name=name, network_id=of.id, is_dhcp_enabled=False, **kw)

    public = net("public", provider_network_type="flat", provider_physical_network="physnet1", is_shared=True)
    subnet("public-v4", public, ip_version=4, cidr="10.71.0.0/24", gateway_ip="10.71.0.1",
           allocation_pools=[{"start": "10.71.0.20", "end": "10.71.0.250"}])
    # No address mode: neutron hands out fixed addresses from the pool, nobody advertises anything.
    subnet("public-v6", public, ip_version=6, cidr="fd71::/64", gateway_ip="fd71::1",
           allocation_pools=[{"start": "fd71::20", "end": "fd71::ffff"}])
    private = net("private", project_id=demo.id, provider_network_type="vlan", provider_physical_network="physnet1")
    subnet("private-v4", private, project_id=demo.id, ip_version=4, cidr="10.72.0.0/24")

    for project in (demo, cloud.identity.find_project("admin")):
        group = network.find_security_group("default", project_id=project.id)
        for kind, protocol, port in (("IPv4", "icmp", None), ("IPv6", "ipv6-icmp", None), ("IPv4", "tcp", 22),
                                     ("IPv4", "tcp", 80), ("IPv6", "tcp", 22), ("IPv6", "tcp", 80)):
            rule = dict(direction="ingress", ether_type=kind, protocol=protocol)
            if port:
                rule.update(port_range_min=port, port_range_max=port)
            if not any(all(r.get(k) == v for k, v in rule.items())
                       for r in network.security_group_rules(security_group_id=group.id)):
                network.create_security_group_rule(security_group_id=group.id, project_id=project.id, **rule)

    for name, vcpus, ram, disk in (("h1.tiny", 1, 128, 1), ("h1.small", 1, 512, 2)):
        if not compute.find_flavor(name):
            compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)

    if not cloud.image.find_image("busybox"):
        cloud.create_image("busybox", filename=os.environ["IMAGE"], disk_format="raw", container_format="bare",
                           visibility="public", wait=True)


if __name__ == "__main__":
    {"catalog": catalog, "objects": objects}[sys.argv[1]](openstack.connect())
