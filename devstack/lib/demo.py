"""demo.py NAME: boots a server through Nova's API as the calling user and tells how it went, in lines "word value...".

Runs in ctl with OS_* variables. Security group rules that the demo needs are made if they are missing; so is a key pair.
"""
import sys
import time

import openstack

name = sys.argv[1]
cloud = openstack.connect()
compute, network = cloud.compute, cloud.network


def tell(word, *values):
    print(word, *values, flush=True)


group = network.find_security_group("default", project_id=cloud.current_project_id)
for family, protocol in (("IPv4", "icmp"), ("IPv6", "ipv6-icmp")):
    rule = dict(direction="ingress", ether_type=family, protocol=protocol)
    if not any(all(r.get(k) == v for k, v in rule.items()) for r in network.security_group_rules(security_group_id=group.id)):
        network.create_security_group_rule(security_group_id=group.id, **rule)
        tell("rule", protocol)
if not compute.find_keypair("demo"):
    compute.create_keypair(name="demo")
    tell("keypair", "demo")

flavor, image = compute.find_flavor("h1.tiny").id, cloud.image.find_image("busybox").id
began = time.monotonic()
server = compute.create_server(name=name, flavor_id=flavor, image_id=image, key_name="demo",
                               networks=[{"uuid": network.find_network("public").id}])
tell("id", server.id)
accepted = time.monotonic() - began
while server.status in (None, "BUILD") and time.monotonic() - began < 120:
    time.sleep(0.05)
    server = compute.get_server(server.id)
tell("status", server.status)
tell("accepted", f"{accepted:.2f}")
tell("took", f"{time.monotonic() - began:.2f}")
if server.status != "ACTIVE":
    tell("fault", (server.fault or {}).get("message", "none given"))
    sys.exit(1)
for net, addresses in server.addresses.items():
    for address in addresses:
        tell(f"address{address['version']}", address["addr"])

# Nova asks the host for the console; the last line of the image's first script says that it is up.
output = ""
while "haulier demo ready" not in output and time.monotonic() - began < 120:
    output = compute.get_server_console_output(server.id).get("output") or ""
tell("console")
print(output.rstrip())
