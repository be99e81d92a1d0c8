#!/usr/bin/env python3
"""A plugin in Python: it looks at Deployments as they are restored, and starts them with no replicas.

Any language that has gRPC will do; what a plugin has to do besides is in main(). The messages are made of the protocol's
files when it starts: PROTOS names the folder that holds them (src/providers/plugin/protos), ./protos beside this file
otherwise. `pip install -r requirements.txt` gets what it needs.
"""

import json
import os
import sys
import tempfile
import threading
from concurrent import futures

import grpc

HERE = os.path.dirname(os.path.realpath(__file__))
PROTOS = os.environ.get("VELERO_EXAMPLE_PROTOS", os.path.join(HERE, "protos"))
NAME = "example.org/start-with-none"

# A folder of its own each: all families call their files alike.
sys.path += [os.path.join(PROTOS, "velero"), os.path.join(PROTOS, "host")]
messages, services = grpc.protos_and_services("generated.proto")
host, host_services = grpc.protos_and_services("plugin.proto")
health, health_services = grpc.protos_and_services("health.proto")


def log(level, message, **fields):
    """Writes a line that the host takes into its log."""
    print(json.dumps({"@level": level, "@message": message, **fields}), file=sys.stderr, flush=True)


class Lister(services.PluginListerServicer):
    def ListPlugins(self, request, context):
        plugin = messages.PluginIdentifier(kind="RestoreItemAction", name=NAME)
        return messages.ListPluginsResponse(plugins=[plugin])


class Action(services.RestoreItemActionServicer):
    def AppliesTo(self, request, context):
        selector = messages.ResourceSelector(included_resources=["deployments.apps"])
        return messages.AppliesToResponse(resource_selector=selector)

    def Execute(self, request, context):
        deployment = json.loads(request.item)
        replicas = deployment["spec"].get("replicas", 1)
        deployment["metadata"].setdefault("annotations", {})["example.org/replicas"] = str(replicas)
        deployment["spec"]["replicas"] = 0
        log("info", "a Deployment is to start with no replicas", name=deployment["metadata"]["name"])
        return messages.RestoreExecuteResponse(item=json.dumps(deployment).encode())


class Health(health_services.HealthServicer):
    """Velero's host asks for it; Ark's does not."""

    def Check(self, request, context):
        return health.HealthCheckResponse(status=health.HealthCheckResponse.SERVING)


class Controller(host_services.GRPCControllerServicer):
    """The host asks for the end."""

    def __init__(self, ending):
        self.ending = ending

    def Shutdown(self, request, context):
        self.ending.set()
        return host.Empty()


def main():
    # A host says so; whoever starts it by hand is told.
    if "hello" not in (os.environ.get("VELERO_PLUGIN"), os.environ.get("ARK_PLUGIN")):
        sys.exit("This is a plugin of Ark. Put it into the server's plugin directory.")
    ending = threading.Event()
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        # Objects may be larger than what gRPC takes by itself.
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    services.add_PluginListerServicer_to_server(Lister(), server)
    services.add_RestoreItemActionServicer_to_server(Action(), server)
    health_services.add_HealthServicer_to_server(Health(), server)
    host_services.add_GRPCControllerServicer_to_server(Controller(ending), server)
    with tempfile.TemporaryDirectory(prefix="plugin-") as folder:
        socket = os.path.join(folder, "socket")
        server.add_insecure_port("unix:" + socket)
        server.start()
        # The handshake: protocol of it, protocol of the plugins (2 is Velero's), where to reach them.
        print(f"1|2|unix|{socket}|grpc|", flush=True)
        ending.wait()
        server.stop(grace=1).wait()


if __name__ == "__main__":
    main()
