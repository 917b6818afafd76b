"""Drives the ECI emulator with Alibaba's own SDKs: python alibaba_eci.py ADDRESS CHECK."""

import base64
import json
import sys
import time
import urllib.request

from alibabacloud_eci20180808 import models as m
from alibabacloud_eci20180808.client import Client
from alibabacloud_tea_openapi.models import Config
from alibabacloud_vpc20160428 import models as vpc
from alibabacloud_vpc20160428.client import Client as Vpc

from hearing import hear

ADDRESS = sys.argv[1]
PLACE = ADDRESS.removeprefix("http://")
REGION = "cn-hangzhou"


def config(secret="testsecret", key="testid", **more):
    return Config(access_key_id=key, access_key_secret=secret, region_id=REGION, endpoint=PLACE, protocol="http", **more)


def eci(**more):
    return Client(config(**more))


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + "/_admin/" + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def advance(by):
    admin("POST", "advance", {"by": by})


def refused(code, call, *arguments):
    """The call is refused with this code."""
    try:
        call(*arguments)
    except Exception as error:
        found = getattr(error, "code", None) or getattr(error, "error_code", None)
        found = found or error.get_error_code()
        assert found == code, f"{found} in place of {code}: {error}"
        return error
    raise AssertionError(f"{code} was expected; the call was accepted")


def request(name="default-nginx", **more):
    container = m.CreateContainerGroupRequestContainer(
        name="nginx", image="nginx:1.25", command=["sh", "-c"], arg=['echo "hi" && nginx'],
        environment_var=[
            m.CreateContainerGroupRequestContainerEnvironmentVar(key="A", value="1"),
            m.CreateContainerGroupRequestContainerEnvironmentVar(
                key="IP", field_ref=m.CreateContainerGroupRequestContainerEnvironmentVarFieldRef(field_path="status.podIP")),
        ],
        port=[m.CreateContainerGroupRequestContainerPort(port=80, protocol="TCP")],
        volume_mount=[m.CreateContainerGroupRequestContainerVolumeMount(mount_path="/d", name="v0", read_only=False)],
        readiness_probe=m.CreateContainerGroupRequestContainerReadinessProbe(
            http_get=m.CreateContainerGroupRequestContainerReadinessProbeHttpGet(path="/", port=80, scheme="HTTP"),
            period_seconds=5),
    )
    volume = m.CreateContainerGroupRequestVolume(
        name="v0", type="EmptyDirVolume", empty_dir_volume=m.CreateContainerGroupRequestVolumeEmptyDirVolume(medium="Memory"))
    asked = dict(
        region_id=REGION, container_group_name=name, container=[container], volume=[volume], v_switch_id="vsw-a,vsw-b",
        security_group_id="sg-1", cpu=1.0, memory=3.0, restart_policy="Always", auto_match_image_cache=True,
        tag=[m.CreateContainerGroupRequestTag(key="k8s:pod", value="a b+c~*/é")],
    )
    return m.CreateContainerGroupRequest(**{**asked, **more})


def create(client, name="default-nginx", **more):
    return client.create_container_group(request(name, **more)).body.container_group_id


def ids(*known):
    return json.dumps(list(known))


def describe(client, **more):
    return client.describe_container_groups(m.DescribeContainerGroupsRequest(region_id=REGION, **more)).body


def one(client, group):
    return describe(client, container_group_ids=ids(group)).container_groups[0]


def life():
    """Create, describe, status, log, exec, metrics, restart, update, delete."""
    client = eci()
    group = create(client)
    found = one(client, group)
    assert (found.status, found.cpu, found.memory) == ("Scheduling", 1.0, 4.0), found
    assert found.tags[0].value == "a b+c~*/é"
    assert found.v_switch_id == "vsw-a" and found.zone_id == "cn-hangzhou-h" and found.intranet_ip == "10.104.0.1"
    container = found.containers[0]
    assert container.commands == ["sh", "-c"] and container.args == ['echo "hi" && nginx']
    assert [v.key for v in container.environment_vars] == ["A", "IP"]
    assert container.environment_vars[1].value_from.field_ref.field_path == "status.podIP"
    assert container.ports[0].port == 80 and container.volume_mounts[0].mount_path == "/d"
    assert container.readiness_probe.http_get.port == 80 and container.readiness_probe.period_seconds == 5
    assert container.current_state.state == "Waiting"
    advance("10s")
    found = one(client, group)
    assert found.status == "Running" and found.containers[0].current_state.state == "Running" and found.containers[0].ready
    status = client.describe_container_group_status(
        m.DescribeContainerGroupStatusRequest(region_id=REGION, container_group_ids=ids(group))).body.data[0]
    assert status.status == "Running" and status.pod_status.pod_ip == found.intranet_ip, status
    log = client.describe_container_log(m.DescribeContainerLogRequest(
        region_id=REGION, container_group_id=group, container_name="nginx", tail=10, timestamps=True)).body
    assert log.content.splitlines()[1].endswith(" hi"), log.content
    refused("InvalidParameter.Tail", client.describe_container_log, m.DescribeContainerLogRequest(
        region_id=REGION, container_group_id=group, container_name="nginx", tail=2001))
    command = dict(region_id=REGION, container_group_id=group, container_name="nginx", command=json.dumps(["echo", "a", "b"]))
    done = client.exec_container_command(m.ExecContainerCommandRequest(sync=True, **command)).body
    assert done.sync_response == "a b\n"
    refused("InvalidParameter.TTY", client.exec_container_command, m.ExecContainerCommandRequest(sync=True, tty=True, **command))
    stream = client.exec_container_command(m.ExecContainerCommandRequest(stdin=True, tty=True, **command)).body
    assert hear(stream.web_socket_uri)[0] == (1, b"a b\n"), stream
    # Good once.
    assert hear(stream.web_socket_uri) is None
    command["command"] = json.dumps(["sh", "-c", "exit 3"])
    (channel, status), = hear(client.exec_container_command(m.ExecContainerCommandRequest(**command)).body.web_socket_uri)
    assert channel == 3 and json.loads(status)["details"]["causes"][0]["message"] == "3", status
    metric = client.describe_container_group_metric(
        m.DescribeContainerGroupMetricRequest(region_id=REGION, container_group_id=group, period="15")).body.records[0]
    assert metric.cpu.usage_nano_cores == 100_000_000 and metric.memory.working_set > 0
    several = client.describe_multi_container_group_metric(
        m.DescribeMultiContainerGroupMetricRequest(region_id=REGION, container_group_ids=ids(group))).body
    assert several.monitor_datas[0].records[0].containers[0].name == "nginx"
    client.restart_container_group(m.RestartContainerGroupRequest(region_id=REGION, container_group_id=group, client_token="r"))
    assert one(client, group).status == "Restarting"
    advance("5s")
    assert one(client, group).containers[0].restart_count == 1
    client.update_container_group(m.UpdateContainerGroupRequest(
        region_id=REGION, container_group_id=group,
        container=[m.UpdateContainerGroupRequestContainer(name="nginx", image="nginx:2")],
        tag=[m.UpdateContainerGroupRequestTag(key="k", value="v")]))
    advance("5s")
    found = one(client, group)
    assert found.containers[0].image == "nginx:2" and found.tags[0].key == "k"
    delete = m.DeleteContainerGroupRequest(region_id=REGION, container_group_id=group, client_token="d")
    client.delete_container_group(delete)
    assert one(client, group).status == "Terminating"
    advance("5s")
    assert describe(client, container_group_ids=ids(group)).total_count == 0
    # The same token is answered again, although nothing is there any more.
    client.delete_container_group(delete)
    delete.client_token = "e"
    refused("InvalidParameter.ContainerGroupId.NotFound", client.delete_container_group, delete)


def refusals():
    """What the cloud does not take, before and after it looks at its stock."""
    client = eci()
    refused("MissingContainerGroupName", create, client, None)
    refused("InvalidParameter.ContainerGroupName", create, client, "Upper")
    refused("InvalidParameter.CPU.Memory", lambda: create(client, cpu=65.0, memory=1.0))
    refused("InvalidSpotCpuMemorySpec", lambda: create(client, spot_strategy="SpotAsPriceGo"))
    refused("InvalidVSwitchId.NotFound", lambda: create(client, v_switch_id="vsw-none"))
    refused("InvalidParameter.VSwitchId", lambda: create(client, v_switch_id=",".join(["vsw-a"] * 11)))
    refused("OperationDenied.VswZoneMisMatch", lambda: create(client, zone_id="cn-hangzhou-i"))
    refused("InvalidRegionId.NotFound", lambda: create(client, region_id="nowhere"))
    refused("DryRunOperation", lambda: create(client, dry_run=True))
    tags = [m.CreateContainerGroupRequestTag(key=str(n), value="v") for n in range(21)]
    refused("InvalidParameter.Tag", lambda: create(client, tag=tags))
    refused("InvalidParameter.ContainerGroupIds", lambda: describe(client, container_group_ids=ids(*"abcdefghijklmnopqrstu")))
    refused("InvalidParameter.Limit", lambda: describe(client, limit=21))
    admin("PATCH", "settings", {"zones": {"cn-hangzhou-h": {"instances": 1}, "cn-hangzhou-i": {"addresses": 0}}})
    create(client)
    refused("OperationDenied.NoStock", create, client)
    refused("InvalidVSwitchId.IpNotEnough", lambda: create(client, v_switch_id="vsw-b"))
    admin("PATCH", "settings", {"zones": None, "quotaInstances": 1})
    refused("QuotaExceeded", create, client)
    admin("PATCH", "settings", {"quotaInstances": None, "outage": True})
    refused("ServiceUnavailable", create, client)
    admin("PATCH", "settings", {"outage": False})


def paging():
    """Pages of groups and of statuses, and filters."""
    client = eci()
    made = [create(client, tag=[m.CreateContainerGroupRequestTag(key="n", value=str(n % 2))]) for n in range(45)]
    seen, token = [], None
    while True:
        page = describe(client, limit=20, next_token=token)
        assert page.total_count == 45
        seen += [g.container_group_id for g in page.container_groups]
        token = page.next_token
        if not token:
            break
    assert seen == made
    odd = describe(client, tag=[m.DescribeContainerGroupsRequestTag(key="n", value="1")])
    assert odd.total_count == 22
    assert describe(client, status="Failed").total_count == 0
    statuses = client.describe_container_group_status(m.DescribeContainerGroupStatusRequest(region_id=REGION, limit=40)).body
    assert len(statuses.data) == 40 and statuses.next_token


def idempotency():
    """One token, one group."""
    client = eci()
    first = create(client, client_token="t")
    assert create(client, client_token="t") == first
    refused("IdempotentParameterMismatch", lambda: create(client, "other", client_token="t"))
    admin("PATCH", "settings", {"zones": {"cn-hangzhou-h": {"instances": 0}, "cn-hangzhou-i": {"instances": 0}}})
    refused("OperationDenied.NoStock", lambda: create(client, client_token="u"))
    admin("PATCH", "settings", {"zones": None})
    refused("OperationDenied.NoStock", lambda: create(client, client_token="u"))
    create(client, client_token="v")


def late():
    """Stock that fails late, and spot instances that are taken back."""
    client = eci()
    admin("PATCH", "settings", {"lateFailuresPerMille": 1000})
    group = create(client)
    advance("5s")
    found = one(client, group)
    assert found.status == "ScheduleFailed" and found.events[0].reason == "ContainerGroup.NoStock", found
    admin("PATCH", "settings", {"lateFailuresPerMille": 0})
    spot = create(client, "spot", cpu=2.0, memory=4.0, spot_strategy="SpotAsPriceGo")
    advance("1h")
    assert one(client, spot).status == "Running"
    admin("POST", "reclaim", {"id": spot})
    found = one(client, spot)
    assert found.status == "Running" and found.events[-1].reason == "SpotToBeReleased"
    advance("4m")
    found = one(client, spot)
    assert found.status == "Failed" and found.containers[0].current_state.reason == "BidFailed"
    job = create(client, "job", restart_policy="Never", container=[m.CreateContainerGroupRequestContainer(
        name="job", image="busybox", command=["sh", "-c", "sleep 5; exit 3"])], volume=[])
    advance("20s")
    found = one(client, job)
    assert found.status == "Failed" and found.containers[0].current_state.exit_code == 3
    bill = admin("GET", "bill")
    assert bill["items"][group]["cost"] == 0 and bill["items"][spot]["isClosed"]
    # An hour and three minutes of 2 vCPU and 4 GiB at the spot price, and the seconds of this test.
    hour = 0.3 * (2 * 0.000049 + 4 * 0.00000613) * (3600 + 180)
    assert abs(bill["items"][spot]["cost"] - hour) < 0.01 * hour, bill


def throttle():
    """The documented rate, and the header by which the SDK knows a throttle."""
    client = eci()
    admin("PATCH", "settings", {"throttleRates": {"ListUsage": {"burst": 3, "perSecond": 1}}})
    usage = m.ListUsageRequest(region_id=REGION)
    for _ in range(3):
        client.list_usage(usage)
    error = refused("Throttling.User", client.list_usage, usage)
    assert type(error).__name__ == "ThrottlingException" and error.retry_after > 0, type(error)
    admin("PATCH", "settings", {"throttle": False})
    client.list_usage(usage)


def catalog():
    """Price, stock, usage and regions."""
    client = eci()
    price = client.describe_container_group_price(
        m.DescribeContainerGroupPriceRequest(region_id=REGION, cpu=2.0, memory=4.0)).body.price_info.price
    assert price.currency == "CNY" and abs(price.trade_price - (2 * 0.000049 + 4 * 0.00000613)) < 1e-9
    admin("PATCH", "settings", {"zones": {"cn-hangzhou-h": {"instances": 0}}})
    available = client.describe_available_resource(m.DescribeAvailableResourceRequest(
        region_id=REGION, destination_resource=m.DescribeAvailableResourceRequestDestinationResource(
            category="InstanceType", value="ecs.c6.large"))).body.available_zones.available_zone
    status = {z.zone_id: z.available_resources.available_resource[0].supported_resources.supported_resource[0].status_category
              for z in available}
    assert status == {"cn-hangzhou-h": "WithoutStock", "cn-hangzhou-i": "WithStock"}, status
    create(client, v_switch_id="vsw-b")
    assert client.list_usage(m.ListUsageRequest(region_id=REGION)).body.attributes["UsedCpu"] == 1
    regions = client.describe_regions(m.DescribeRegionsRequest()).body.regions
    assert regions[0].region_id == REGION and "cn-hangzhou-i" in regions[0].zones


def nodes():
    """Virtual nodes and image caches."""
    client = eci()
    created = client.create_virtual_node(m.CreateVirtualNodeRequest(
        region_id=REGION, virtual_node_name="vn", kube_config=base64.b64encode(b"{}").decode(), v_switch_id="vsw-a",
        security_group_id="sg-1", cluster_dns="10.0.0.10", cluster_domain="cluster.local", client_token="n",
        taint=[m.CreateVirtualNodeRequestTaint(key="k", value="v", effect="NoSchedule")])).body
    node = created.virtual_node_id
    assert node.startswith("vnd-")

    def described():
        return client.describe_virtual_nodes(m.DescribeVirtualNodesRequest(
            region_id=REGION, virtual_node_ids=ids(node))).body.virtual_nodes

    assert described()[0].status == "Pending"
    advance("10s")
    assert described()[0].status == "Ready"
    client.update_virtual_node(m.UpdateVirtualNodeRequest(region_id=REGION, virtual_node_id=node, virtual_node_name="other"))
    assert described()[0].virtual_node_name == "other"
    client.delete_virtual_node(m.DeleteVirtualNodeRequest(region_id=REGION, virtual_node_id=node))
    assert described() == []
    cache = client.create_image_cache(m.CreateImageCacheRequest(
        region_id=REGION, image_cache_name="c", image=["nginx:1"], security_group_id="sg-1", v_switch_id="vsw-a")).body.image_cache_id
    advance("10s")
    found = client.describe_image_caches(m.DescribeImageCachesRequest(region_id=REGION, image_cache_id=cache)).body.image_caches[0]
    assert found.status == "Ready" and found.images == ["nginx:1"]
    client.update_image_cache(m.UpdateImageCacheRequest(region_id=REGION, image_cache_id=cache, image=["nginx:2"]))
    client.delete_image_cache(m.DeleteImageCacheRequest(region_id=REGION, image_cache_id=cache))
    refused("InvalidParameter.ImageCacheId.NotFound", client.delete_image_cache,
            m.DeleteImageCacheRequest(region_id=REGION, image_cache_id=cache))


def network():
    """The VPC's actions."""
    client = Vpc(config())
    vswitch = client.describe_vswitch_attributes(
        vpc.DescribeVSwitchAttributesRequest(region_id=REGION, v_switch_id="vsw-a")).body
    assert vswitch.available_ip_address_count == 65532 and vswitch.zone_id == "cn-hangzhou-h"
    table = vswitch.route_table.route_table_id
    entry = dict(region_id=REGION, route_table_id=table, destination_cidr_block="10.1.0.0/24",
                 next_hop_type="NetworkInterface", next_hop_id="eni-1")
    made = client.create_route_entry(vpc.CreateRouteEntryRequest(client_token="t", **entry)).body.route_entry_id
    refused("RouterEntryConflict.Duplicated", client.create_route_entry, vpc.CreateRouteEntryRequest(**entry))
    entry["destination_cidr_block"] = "10.1.0.1/24"
    refused("InvalidDestCidrBlock.Malformed", client.create_route_entry, vpc.CreateRouteEntryRequest(**entry))
    listing = vpc.DescribeRouteEntryListRequest(region_id=REGION, route_table_id=table, max_result=2)
    seen = []
    while True:
        page = client.describe_route_entry_list(listing).body
        seen += page.route_entrys.route_entry
        listing.next_token = page.next_token
        if not page.next_token:
            break
    assert [e.type for e in seen] == ["Custom", "System", "System"], seen
    assert seen[0].next_hops.next_hop[0].next_hop_id == "eni-1"
    client.delete_route_entry(vpc.DeleteRouteEntryRequest(region_id=REGION, route_entry_id=made))
    refused("InvalidRouteEntry.NotFound", client.delete_route_entry,
            vpc.DeleteRouteEntryRequest(region_id=REGION, route_entry_id=made))


def entry(destination, hop, name):
    return vpc.CreateRouteEntryRequest(region_id=REGION, route_table_id="vtb-emulated", destination_cidr_block=destination,
                                       next_hop_type="Instance", next_hop_id=hop, route_entry_name=name)


def routes_before():
    """Entries that stand before burstlet comes."""
    client = Vpc(config())
    client.create_route_entry(entry("10.99.0.0/24", "i-mine", "by-hand"))
    client.create_route_entry(entry("10.88.8.0/24", "i-x", "burstlet_other_x"))
    client.create_route_entry(entry("10.88.9.0/24", "i-gone", "burstlet_prod_gone"))


def routes_after():
    """What burstlet has made of them."""
    client = Vpc(config())
    page = client.describe_route_entry_list(vpc.DescribeRouteEntryListRequest(
        region_id=REGION, route_table_id="vtb-emulated", route_entry_type="Custom", max_result=50)).body
    found = {(e.destination_cidr_block, e.next_hops.next_hop[0].next_hop_id, e.route_entry_name)
             for e in page.route_entrys.route_entry}
    assert found == {
        ("10.99.0.0/24", "i-mine", "by-hand"), ("10.88.8.0/24", "i-x", "burstlet_other_x"),
        ("10.88.0.0/24", "i-bp1a", "burstlet_prod_vnode-test001"), ("10.88.1.0/24", "i-bp1b", "burstlet_prod_vnode-test002"),
    }, found


def keys():
    """Wrong keys, a skewed clock, a replayed nonce; with both signatures."""
    usage = m.ListUsageRequest(region_id=REGION)
    for algorithm in (None, "v2"):
        more = {"signature_algorithm": algorithm} if algorithm else {}
        eci(**more).list_usage(usage)
        refused("SignatureDoesNotMatch", eci(secret="wrong", **more).list_usage, usage)
        refused("InvalidAccessKeyId.NotFound", eci(key="nobody", **more).list_usage, usage)
        admin("PATCH", "settings", {"clockSkewSeconds": 16 * 60})
        refused("InvalidTimeStamp.Expired", eci(**more).list_usage, usage)
        admin("PATCH", "settings", {"clockSkewSeconds": -14 * 60})
        eci(**more).list_usage(usage)
        admin("PATCH", "settings", {"clockSkewSeconds": 0})
    from alibabacloud_tea_openapi import client as openapi

    name = next(n for n in ("Utils", "UtilClient") if hasattr(getattr(openapi, n, None), "get_nonce"))
    original = getattr(openapi, name).get_nonce
    getattr(openapi, name).get_nonce = staticmethod(lambda: "0123456789abcdef")
    try:
        client = eci()
        client.list_usage(usage)
        refused("SignatureNonceUsed", client.list_usage, usage)
    finally:
        getattr(openapi, name).get_nonce = original


def token_of_the_cluster(**claims):
    """As Kubernetes writes it for a service account, but for its signature."""
    claims = {"iss": "https://cluster", "sub": "system:serviceaccount:burstlet-system:burstlet-controller",
              "aud": ["sts.aliyuncs.com"], "exp": int(time.time()) + 600} | claims
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return ".".join([part({"alg": "RS256"}), part(claims), "c2lnbmF0dXJl"])


def web_identity():
    """The SDK's own chain finds a role by its variables; what it is granted serves with its token, and for an hour."""
    import importlib
    import os
    import tempfile

    from Tea.core import TeaCore
    from alibabacloud_credentials.client import Client as Credentials
    from alibabacloud_credentials.provider import OIDCRoleArnCredentialsProvider
    from alibabacloud_credentials.utils import auth_util

    # The chain calls STS at its own address, by TLS.
    send = TeaCore.do_action

    def here(request, options=None):
        request.protocol, request.headers["host"] = "http", PLACE
        return send(request, options)

    file = tempfile.NamedTemporaryFile("w")

    def write(text):
        file.seek(0)
        file.truncate()
        file.write(text)
        file.flush()

    role, provider = "acs:ram::113511544585:role/burst", "acs:ram::113511544585:oidc-provider/cluster"
    os.environ.update(ALIBABA_CLOUD_ROLE_ARN=role, ALIBABA_CLOUD_OIDC_PROVIDER_ARN=provider,
                      ALIBABA_CLOUD_OIDC_TOKEN_FILE=file.name, ALIBABA_CLOUD_ECS_METADATA_DISABLED="true")
    importlib.reload(auth_util)
    write(token_of_the_cluster())
    usage = m.ListUsageRequest(region_id=REGION)
    TeaCore.do_action = staticmethod(here)
    try:
        chain = Credentials()
        given = chain.get_credential()
        assert given.provider_name == "default/oidc_role_arn", given.provider_name

        def granted(what, **more):
            more = {"access_key_id": given.access_key_id, "access_key_secret": given.access_key_secret,
                    "security_token": given.security_token, "region_id": REGION, "endpoint": PLACE, "protocol": "http"} | more
            call = Client(Config(**more)).list_usage
            return refused(what, call, usage) if what else call(usage)

        for algorithm in (None, "v2"):
            more = {"signature_algorithm": algorithm} if algorithm else {}
            Client(Config(credential=chain, region_id=REGION, endpoint=PLACE, protocol="http", **more)).list_usage(usage)
            granted(None, **more)
            granted("SignatureDoesNotMatch", access_key_secret="wrong", **more)
            granted("MissingSecurityToken", security_token=None, **more)
            granted("InvalidSecurityToken.MismatchWithAccessKey", security_token="another", **more)
            granted("InvalidSecurityToken.MismatchWithAccessKey", access_key_id="testid", access_key_secret="testsecret", **more)
        advance("61m")
        granted("InvalidSecurityToken.Expired")

        def not_granted(what, token=None, **more):
            write(token or token_of_the_cluster())
            try:
                OIDCRoleArnCredentialsProvider(sts_endpoint=PLACE, **more).get_credentials()
            except Exception as error:
                assert what in str(error), error
            else:
                raise AssertionError(f"{what} was expected; keys were granted")

        not_granted("AuthenticationFail.OIDCToken.Expired", token_of_the_cluster(exp=int(time.time()) - 1))
        not_granted("AuthenticationFail.OIDCToken.Invalid", token_of_the_cluster(aud=["kubernetes"]))
        not_granted("AuthenticationFail.OIDCToken.Invalid", "no.token")
        not_granted("InvalidParameter.RoleArn", role_arn=provider)
        not_granted("InvalidParameter.OIDCProviderArn", oidc_provider_arn=role)
        not_granted("InvalidParameter.DurationSeconds", duration_seconds=7200)
    finally:
        TeaCore.do_action = staticmethod(send)


def old_sdk():
    """The SDK before this one: version 1 signatures on GET, with a blank parameter that is signed, too."""
    from aliyunsdkcore.acs_exception.exceptions import ServerException
    from aliyunsdkcore.client import AcsClient
    from aliyunsdkeci.request.v20180808.CreateContainerGroupRequest import CreateContainerGroupRequest
    from aliyunsdkeci.request.v20180808.DeleteContainerGroupRequest import DeleteContainerGroupRequest
    from aliyunsdkeci.request.v20180808.DescribeContainerGroupsRequest import DescribeContainerGroupsRequest

    def call(request, secret="testsecret"):
        request.set_endpoint(PLACE)
        request.set_protocol_type("http")
        return json.loads(AcsClient("testid", secret, REGION).do_action_with_exception(request))

    request = CreateContainerGroupRequest()
    request.set_ContainerGroupName("old")
    request.set_VSwitchId("vsw-a")
    request.set_SecurityGroupId("sg-1")
    request.set_Cpu(0.5)
    request.set_Memory(1.0)
    request.set_Containers([{"Name": "c", "Image": "nginx", "Commands": ["sleep", "a b*c~"]}])
    group = call(request)["ContainerGroupId"]
    listing = DescribeContainerGroupsRequest()
    listing.set_ContainerGroupIds(ids(group))
    listing.set_Limit(20)
    found = call(listing)["ContainerGroups"][0]
    assert found["Containers"][0]["Commands"] == ["sleep", "a b*c~"], found
    try:
        call(DescribeContainerGroupsRequest(), "wrong")
        raise AssertionError("a wrong secret was accepted")
    except ServerException as error:
        assert error.get_error_code() == "SignatureDoesNotMatch", error
    delete = DeleteContainerGroupRequest()
    delete.set_ContainerGroupId(group)
    call(delete)


if __name__ == "__main__":
    # The SDKs retry by themselves where they are not told otherwise; here each call is one call.
    time.tzset()
    {f.__name__: f for f in (life, refusals, paging, idempotency, late, throttle, catalog, nodes, network, routes_before, routes_after,
                                 keys, web_identity, old_sdk)}[
        sys.argv[2]]()
