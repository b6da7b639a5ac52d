"""queue-ready.py SECONDS VHOST QUEUE: waits until somebody consumes a queue of ctl's RabbitMQ (RABBIT: user:password).

An RPC call that is made before its server listens waits for its whole time-out (60 s), so callers are started after this.
"""
import os
import sys
import time

import amqp

seconds, vhost, queue = float(sys.argv[1]), sys.argv[2], sys.argv[3]
user, password = os.environ["RABBIT"].split(":")
end = time.monotonic() + seconds
while True:
    try:
        with amqp.Connection("127.0.0.1:5672", userid=user, password=password, virtual_host=vhost) as connection:
            if connection.channel().queue_declare(queue, passive=True).consumer_count > 0:
                break
    except (amqp.exceptions.NotFound, OSError):
        pass
    if time.monotonic() > end:
        sys.exit(f"nobody consumes {queue} of vhost {vhost} after {seconds:.0f} s")
    time.sleep(0.1)
