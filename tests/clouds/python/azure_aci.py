"""Drives the ACI emulator with Azure's own SDK: python azure_aci.py ADDRESS CHECK."""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.containerinstance import models as m

from hearing import hear

ADDRESS = sys.argv[1]
SUBNET = "/subscriptions/sub-1/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/"
PLAIN = {"enforce_https": False}


def send(method, address, data=None, kind="application/json"):
    request = urllib.request.Request(address, data, {"content-type": kind}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def admin(method, path, body=None):
    return send(method, ADDRESS + "/_admin/" + path, None if body is None else json.dumps(body).encode())


def grant(tenant="tenant", client="client", secret="secret", **more):
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret,
            "scope": "https://management.azure.com/.default", **more}
    body = urllib.parse.urlencode(form).encode()
    return send("POST", f"{ADDRESS}/{tenant}/oauth2/v2.0/token", body, "application/x-www-form-urlencoded")


class Credential:
    def __init__(self, token=None):
        self.token = token

    def get_token(self, *scopes, **_):
        return AccessToken(self.token or grant()["access_token"], int(time.time()) + 3600)


def aci(token=None):
    return ContainerInstanceManagementClient(
        Credential(token), "sub-1", base_url=ADDRESS, credential_scopes=["https://management.azure.com/.default"], retry_total=0)


def refused(code, call, *arguments, **named):
    """The call is refused with this code."""
    try:
        call(*arguments, **named, **PLAIN)
    except HttpResponseError as error:
        found = error.error.code if error.error else error
        assert found == code, f"{found} in place of {code}: {error}"
        return error
    raise AssertionError(f"{code} was expected; the call was accepted")


def group(subnet="s", **more):
    container = m.Container(
        name="app", image="nginx", command=["sh", "-c", "sleep 1"], ports=[m.ContainerPort(port=80)],
        environment_variables=[m.EnvironmentVariable(name="A", value="1"), m.EnvironmentVariable(name="S", secure_value="x")],
        resources=m.ResourceRequirements(requests=m.ResourceRequests(cpu=1.0, memory_in_gb=1.5)))
    fields = dict(
        location="eastus", os_type="Linux", restart_policy="Always", containers=[container], tags={"pod": "nginx"},
        subnet_ids=[m.ContainerGroupSubnetId(id=SUBNET + subnet)] if subnet else None,
        image_registry_credentials=[m.ImageRegistryCredential(server="r", username="u", password="p")])
    return m.ContainerGroup(**{**fields, **more})


def put(client, name="g1", *arguments, **more):
    return client.container_groups.begin_create_or_update("rg", name, group(*arguments, **more), polling_interval=0.1, **PLAIN).result()


def life():
    """Put, shown, listed, logged, commanded, deleted."""
    client = aci()
    put(client)
    admin("POST", "advance", {"by": "10s"})
    shown = client.container_groups.get("rg", "g1", **PLAIN)
    assert (shown.provisioning_state, shown.instance_view.state, shown.ip_address.type) == ("Succeeded", "Running", "Private")
    container = shown.containers[0]
    assert container.instance_view.current_state.state == "Running" and container.environment_variables[1].secure_value is None
    assert shown.image_registry_credentials[0].password is None
    listed = list(client.container_groups.list_by_resource_group("rg", **PLAIN))
    assert [one.name for one in listed] == ["g1"] and listed[0].instance_view is None
    assert len(list(client.container_groups.list(**PLAIN))) == 1
    logs = client.containers.list_logs("rg", "g1", "app", tail=2, timestamps=True, **PLAIN).content
    assert len(logs.splitlines()) == 2 and logs.startswith("20"), logs
    asked = m.ContainerExecRequest(command="/bin/sh", terminal_size=m.ContainerExecRequestTerminalSize(rows=24, cols=80))
    session = client.containers.execute_command("rg", "g1", "app", asked, **PLAIN)
    assert hear(session.web_socket_uri, session.password, channels=False) == [b"/bin/sh\n"], session
    assert client.containers.attach("rg", "g1", "app", **PLAIN).password
    usage = list(client.location.list_usage("eastus", **PLAIN))[0]
    assert (usage.name.value, usage.current_value, usage.limit) == ("ContainerGroups", 1, 100)
    assert list(client.location.list_capabilities("eastus", **PLAIN))[0].capabilities.max_cpu == 4
    # Putting the same again changes nothing; another one is refused.
    put(client)
    refused("InvalidContainerGroupUpdate", client.container_groups.begin_create_or_update, "rg", "g1", group("other"))
    assert len(admin("GET", "instances")) == 1
    client.container_groups.begin_delete("rg", "g1", polling_interval=0.1, **PLAIN).result()
    refused("ResourceNotFound", client.container_groups.get, "rg", "g1")
    assert not list(client.container_groups.list_by_resource_group("rg", **PLAIN))


def pages():
    """120 groups come in pages, each once."""
    admin("PATCH", "settings", {"throttle": False, "quotaInstances": 200})
    client = aci(grant()["access_token"])
    for at in range(120):
        client.container_groups.begin_create_or_update("rg", f"g{at}", group(), polling=False, **PLAIN)
    names = [one.name for one in client.container_groups.list_by_resource_group("rg", **PLAIN)]
    assert len(names) == len(set(names)) == 120, len(names)
    assert admin("GET", "calls")["List"]["arrived"] == 3


def keys():
    """Wrong clients get no token; wrong and old tokens are refused."""
    assert grant(secret="wrong")["error"] == "invalid_client"
    assert grant(client="nobody")["error"] == grant(tenant="other")["error"] == "unauthorized_client"
    assert grant(scope="x")["error"] == "invalid_scope" and grant(grant_type="password")["error"] == "unsupported_grant_type"
    federated = grant(secret="", client_assertion="secret", client_assertion_type="jwt-bearer")
    assert federated["token_type"] == "Bearer" and federated["expires_in"] == 3600
    refused("InvalidAuthenticationToken", aci("made-up").container_groups.get, "rg", "g1")
    token = grant()["access_token"]
    refused("ResourceNotFound", aci(token).container_groups.get, "rg", "g1")
    admin("POST", "advance", {"by": "61m"})
    refused("ExpiredAuthenticationToken", aci(token).container_groups.get, "rg", "g1")


def limits():
    """Every limit is held, and shortages are told."""
    client = aci()
    create = client.container_groups.begin_create_or_update
    large = m.Container(name="c", image="i", resources=m.ResourceRequirements(requests=m.ResourceRequests(cpu=5, memory_in_gb=1)))
    refused("ResourceRequestsInvalid", create, "rg", "g", group(containers=[large]))
    refused("LocationNotAvailableForResourceType", create, "rg", "g", group(location="mars"))
    refused("SpotPriorityContainerGroupNotSupported", create, "rg", "g", group(priority="Spot"))
    refused("InvalidContainerGroupName", create, "rg", "A", group())
    admin("PATCH", "settings", {"zones": {"s": {"instances": 0}, "full": {"addresses": 0}}})
    assert "not available in the location" in str(refused("ServiceUnavailable", create, "rg", "g", group()))
    refused("SubnetIsFull", create, "rg", "g", group("full"))
    admin("PATCH", "settings", {"quotaCpu": 0})
    assert "quota" in str(refused("ServiceUnavailable", create, "rg", "g", group("t")))
    admin("PATCH", "settings", {"quotaInstances": 0})
    refused("ContainerGroupQuotaReached", create, "rg", "g", group("t"))
    admin("PATCH", "settings", {"throttleRates": {"CreateOrUpdate": {"burst": 1, "perSecond": 0.01}}})
    refused("ContainerGroupQuotaReached", create, "rg", "g", group("t"))
    refused("TooManyRequests", create, "rg", "g", group("t"))


def spot():
    """A spot group is taken back and billed at its discount."""
    client = aci()
    put(client, "g1", None, priority="Spot")
    admin("POST", "advance", {"by": "30m"})
    admin("POST", "reclaim", {"id": "g1"})
    admin("POST", "advance", {"by": "10m"})
    shown = client.container_groups.get("rg", "g1", **PLAIN)
    assert shown.containers[0].instance_view.current_state.detail_status == "SpotPreempted", shown.instance_view
    cost = admin("GET", "bill")["totals"]["USD"]
    expected = 1920 * 0.3 * (0.0405 + 1.5 * 0.00445) / 3600
    assert abs(cost / expected - 1) < 0.01, (cost, expected)


globals()[sys.argv[2]]()
