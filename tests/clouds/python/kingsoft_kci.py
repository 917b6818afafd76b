"""Drives the KCI emulator with Kingsoft's own SDK: python kingsoft_kci.py ADDRESS CHECK."""

import json
import sys
import urllib.request

from ksyun.client.kci.v20200702 import models as m
from ksyun.client.kci.v20200702.client import KciClient
from ksyun.common import credential
from ksyun.common.exception.ksyun_sdk_exception import KsyunSDKException
from ksyun.common.profile.client_profile import ClientProfile
from ksyun.common.profile.http_profile import HttpProfile

from hearing import hear

ADDRESS = sys.argv[1]
PLACE = ADDRESS.removeprefix("http://")
REGION = "cn-beijing-6"


def kci(key="testid", secret="testsecret", region=REGION, method="POST"):
    http = HttpProfile(protocol="http", endpoint=PLACE, reqMethod=method)
    return KciClient(credential.Credential(key, secret), region, ClientProfile(httpProfile=http))


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + "/_admin/" + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def call(client, action, **fields):
    request = getattr(m, action + "Request")()
    for name, value in fields.items():
        setattr(request, name, value)
    return json.loads(getattr(client, action)(request))


def refused(code, client, action, **fields):
    """The call is refused with this code."""
    try:
        call(client, action, **fields)
    except KsyunSDKException as error:
        # The SDK hands the body of an answer that is not 200 on as the message.
        found = json.loads(error.message)["Error"]["Code"]
        assert found == code, f"{found} in place of {code}: {error}"
        return
    raise AssertionError(f"{code} was expected; the call was accepted")


def asked(name="nginx", **more):
    container = {"Name": "app", "Image": "nginx:1", "Command": ["sh"], "EnvironmentVar": [{"Key": "A", "Value": "b c+d"}]}
    fields = dict(
        ContainerGroupName=name, SubnetId="sub-1", SecurityGroupId=["sg-1"], KciType="RBKCI",
        ChargeType="HourlyInstantSettlement", Cpu=1.0, Memory=2.0, RestartPolicy="Always", Container=[container],
        Label=[{"Key": "pod-name", "Value": name}],
    )
    return {**fields, **more}


def life():
    """Created, described, logged, deleted; by POST and by GET."""
    for method in ("POST", "GET"):
        client = kci(method=method)
        group = call(client, "CreateContainerGroup", **asked())["ContainerGroupId"]
        shown = call(client, "DescribeContainerGroup", ContainerGroupId=[group])
        assert shown["TotalCount"] == 1, shown
        one = shown["ContainerGroups"][0]
        assert one["Status"] == "ImagePulling" and one["Cpu"] == 1.0 and one["Memory"] == 2, one
        assert one["Containers"][0]["EnvironmentVar"] == [{"Key": "A", "Value": "b c+d"}], one
        assert one["Labels"] == [{"Key": "pod-name", "Value": "nginx"}], one
        admin("POST", "advance", {"by": "10s"})
        one = call(client, "DescribeContainerGroup", Search="ngin")["ContainerGroups"][0]
        assert one["Status"] == "Running" and one["NetworkInterfaceAttributes"][0]["PrivateIpAddress"].startswith("10."), one
        log = call(client, "DescribeContainerLog", ContainerGroupId=group, ContainerName="app", Tail=2)
        assert len(log["Content"].splitlines()) == 2, log
        exec_ = call(client, "ExecContainerCommand", ContainerGroupId=group, ContainerName="app", Command=["echo", "a"], TTY=True)
        heard = hear(exec_["WebSocketUri"])
        assert heard[0] == (1, b"a\n") and heard[-1][0] == 3, heard
        events = call(client, "DescribeContainerGroupEvents", ContainerGroupId=group)["Events"]
        assert [event["Reason"] for event in events] == ["Pulling", "Started"], events
        assert call(client, "DescribeContainerGroupCount")["Count"] == 1
        call(client, "DeleteContainerGroup", ContainerGroupId=group)
        refused("ContainerGroupNotFound", client, "DeleteContainerGroup", ContainerGroupId=group)
        assert call(client, "DescribeContainerGroup")["TotalCount"] == 0
    assert {"Region": REGION} in call(kci(), "DescribeRegions")["RegionSet"]
    assert call(kci(), "DescribeKciPackages", KciType="RBKCI")["KciPackages"]


def pages():
    """150 groups come in pages of at most 100, each once."""
    client = kci()
    admin("PATCH", "settings", {"throttle": False})
    for at in range(150):
        call(client, "CreateContainerGroup", **asked(f"web-{at}", SubnetId="sub-1" if at % 3 else "sub-2"))
    refused("InvalidParameterValue", client, "DescribeContainerGroup", MaxResults=101)
    names = []
    while True:
        page = call(client, "DescribeContainerGroup", MaxResults=100, Marker=len(names))
        names += [group["ContainerGroupName"] for group in page["ContainerGroups"]]
        if len(names) >= page["TotalCount"]:
            break
    assert len(names) == 150 and len(set(names)) == 150
    filters = [{"Name": "subnet-id", "Value": ["sub-2"]}, {"Name": "status", "Value": ["ImagePulling", "Running"]}]
    assert call(client, "DescribeContainerGroup", MaxResults=1, Filter=filters)["TotalCount"] == 50


def keys():
    """Wrong keys, another region's signature and a skewed clock are refused."""
    refused("SignatureDoesNotMatch", kci(secret="wrong"), "DescribeRegions")
    refused("InvalidClientTokenId", kci(key="nobody"), "DescribeRegions")
    refused("InvalidParameterValue", kci(region="cn-atlantis-1"), "DescribeRegions")
    for skew in (1000, -1000):
        admin("PATCH", "settings", {"clockSkewSeconds": skew})
        refused("RequestExpired", kci(), "DescribeRegions")
    admin("PATCH", "settings", {"clockSkewSeconds": 0})
    call(kci(), "DescribeRegions")


def limits():
    """Every limit of a creation is held, and shortages are told."""
    client = kci()
    bad = [
        dict(SecurityGroupId=["a", "b", "c", "d"]), dict(SecurityGroupId=[]), dict(SubnetId=""), dict(KciType="KCI"),
        dict(MultiSubnetId=list("abcdef"), SubnetId=None), dict(Cpu=257.0), dict(Memory=513.0), dict(ChargeType="Free"),
        dict(Container=[{"Name": f"c{at}", "Image": "i"} for at in range(6)]), dict(Container=[]), dict(ContainerGroupName="A"),
        dict(KubeConfig="x"), dict(Container=[{"Name": "c"}]), dict(RestartPolicy="Sometimes"),
    ]
    for fields in bad:
        refused("InvalidParameterValue", client, "CreateContainerGroup", **asked(**fields))
    assert call(client, "DescribeContainerGroup")["TotalCount"] == 0
    admin("PATCH", "settings", {"zones": {"sub-1": {"instances": 0}, "sub-2": {"addresses": 0}}})
    refused("ResourceSoldOut", client, "CreateContainerGroup", **asked())
    refused("SubnetIpNotEnough", client, "CreateContainerGroup", **asked(SubnetId="sub-2"))
    group = call(client, "CreateContainerGroup", **asked(SubnetId=None, MultiSubnetId=["sub-1", "sub-2", "sub-3"]))
    shown = call(client, "DescribeContainerGroup", ContainerGroupId=[group["ContainerGroupId"]])
    assert shown["ContainerGroups"][0]["SubnetId"] == "sub-3", shown
    admin("PATCH", "settings", {"quotaInstances": 1})
    refused("QuotaExceeded", client, "CreateContainerGroup", **asked(SubnetId="sub-3"))
    admin("PATCH", "settings", {"throttleRates": {"DescribeRegions": {"burst": 1, "perSecond": 0.01}}})
    call(client, "DescribeRegions")
    refused("Throttling", client, "DescribeRegions")


def spot():
    """A spot group is taken back with notice, and is billed at its discount."""
    client = kci()
    group = call(client, "CreateContainerGroup", **asked(ChargeType="Spot", SpotStrategy="SpotAsPriceGo"))["ContainerGroupId"]
    admin("POST", "advance", {"by": "100s"})
    admin("POST", "reclaim", {"id": group})
    events = call(client, "DescribeContainerGroupEvents", ContainerGroupId=group)["Events"]
    assert events[-1]["Reason"] == "SpotToBeReleased", events
    admin("POST", "advance", {"by": "1h"})
    one = call(client, "DescribeContainerGroup", ContainerGroupId=[group])["ContainerGroups"][0]
    assert one["Status"] == "Failed" and one["Containers"][0]["CurrentState"]["Reason"] == "SpotReclaimed", one
    cost = admin("GET", "bill")["totals"]["CNY"]
    expected = 220 * 0.3 * (0.000049 + 2 * 0.00000613)
    assert abs(cost / expected - 1) < 0.01, (cost, expected)


globals()[sys.argv[2]]()
