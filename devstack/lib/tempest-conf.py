"""tempest-conf.py TEMPLATE FOLDER: tempest.conf of the running cloud, on standard output.

Runs in ctl with the administrator's OS_* variables. Makes the second image that Tempest wants, unless it is there.
"""
import configparser
import os
import string
import sys

import openstack

template, folder = sys.argv[1:]
cloud = openstack.connect()


def found(what, thing):
    if thing is None:
        sys.exit(f"the cloud has no {what}; was it made by devstack/cloud up?")
    return thing


def second_image(first):
    """The same bytes under another id: tests that rebuild a server see that it came from another image."""
    image = cloud.image.find_image("busybox-alt")
    if image:
        return image
    file = "/tmp/busybox-alt.tar.gz"
    cloud.image.download_image(first, output=file)
    try:
        return cloud.create_image("busybox-alt", filename=file, disk_format=first.disk_format,
                                  container_format=first.container_format, visibility="public", wait=True)
    finally:
        os.unlink(file)


nova = configparser.ConfigParser(interpolation=None, strict=False)
nova.read("/etc/nova/nova.conf")
first = found("image busybox", cloud.image.find_image("busybox"))
values = dict(
    folder=folder, image=first.id, image_alt=second_image(first).id,
    flavor=found("flavor h1.tiny", cloud.compute.find_flavor("h1.tiny")).id,
    flavor_alt=found("flavor h1.small", cloud.compute.find_flavor("h1.small")).id,
    filters=nova["filter_scheduler"]["enabled_filters"],
    auth_url=os.environ["OS_AUTH_URL"], username=os.environ["OS_USERNAME"],
    password=os.environ["OS_PASSWORD"], project=os.environ["OS_PROJECT_NAME"],
)
with open(template, encoding="utf8") as file:
    print(string.Template(file.read()).substitute(values), end="")
