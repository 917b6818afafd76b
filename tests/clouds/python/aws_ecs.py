"""Drives the ECS emulator with boto3: python aws_ecs.py ADDRESS CHECK. CHECK moto runs moto's ECS instead."""

import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ADDRESS = sys.argv[1]


def client(service="ecs", key="testid", secret="testsecret", address=ADDRESS, token=None):
    once = Config(retries={"total_max_attempts": 1}, proxies={})
    return boto3.client(service, endpoint_url=address, region_name="us-east-1", aws_access_key_id=key,
                        aws_secret_access_key=secret, aws_session_token=token, config=once)


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + "/_admin/" + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def refused(code, call, **arguments):
    """The call is refused with this code."""
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{found} in place of {code}: {error}"
        return error.response["Error"]["Message"]
    raise AssertionError(f"{code} was expected; the call was accepted")


def definition(ecs, family="web", **more):
    fields = dict(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[{"name": "app", "image": "nginx"}])
    return ecs.register_task_definition(**{**fields, **more})["taskDefinition"]["taskDefinitionArn"]


def asked(**more):
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}}
    return {**dict(taskDefinition="web", launchType="FARGATE", networkConfiguration=network), **more}


def life():
    """Registered, run, listed, described, commanded, stopped."""
    ecs = client()
    ecs.create_cluster(clusterName="c")
    arn = definition(ecs)
    tasks = ecs.run_task(**asked(
        cluster="c", count=2, startedBy="vk/default/nginx", enableExecuteCommand=True, tags=[{"key": "pod", "value": "nginx"}],
        overrides={"containerOverrides": [{"name": "app", "environment": [{"name": "A", "value": "1"}]}]}))["tasks"]
    assert len(tasks) == 2 and tasks[0]["lastStatus"] == "PROVISIONING" and tasks[0]["taskDefinitionArn"] == arn
    arns = ecs.list_tasks(cluster="c", startedBy="vk/default/nginx")["taskArns"]
    assert sorted(arns) == sorted(task["taskArn"] for task in tasks)
    admin("POST", "advance", {"by": "10s"})
    shown = ecs.describe_tasks(cluster="c", tasks=arns + ["nobody"], include=["TAGS"])
    assert [task["lastStatus"] for task in shown["tasks"]] == ["RUNNING"] * 2, shown
    assert shown["tasks"][0]["tags"] == [{"key": "pod", "value": "nginx"}] and shown["failures"][0]["reason"] == "MISSING"
    assert shown["tasks"][0]["createdAt"].year >= 2024
    session = ecs.execute_command(cluster="c", task=arns[0], container="app", command="ls", interactive=True)["session"]
    assert session["streamUrl"].startswith("wss://"), session
    stopped = ecs.stop_task(cluster="c", task=arns[0], reason="enough")["task"]
    assert (stopped["lastStatus"], stopped["stopCode"], stopped["stoppedReason"]) == ("STOPPED", "UserInitiated", "enough")
    assert ecs.list_tasks(cluster="c", desiredStatus="STOPPED")["taskArns"] == [arns[0]]
    refused("InvalidParameterException", ecs.stop_task, cluster="c", task="nobody")
    refused("ClusterNotFoundException", ecs.list_tasks, cluster="d")
    assert ecs.describe_task_definition(taskDefinition="web")["taskDefinition"]["revision"] == 1
    assert ecs.deregister_task_definition(taskDefinition="web:1")["taskDefinition"]["status"] == "INACTIVE"
    refused("ClientException", ecs.describe_task_definition, taskDefinition="web")


def pages():
    """120 tasks come in pages, and are described 100 at a time."""
    admin("PATCH", "settings", {"throttle": False})
    ecs = client()
    definition(ecs)
    for _ in range(12):
        ecs.run_task(**asked(count=10))
    arns = [arn for page in ecs.get_paginator("list_tasks").paginate(PaginationConfig={"PageSize": 50}) for arn in page["taskArns"]]
    assert len(arns) == len(set(arns)) == 120
    assert len(ecs.describe_tasks(tasks=arns[:100])["tasks"]) == 100
    refused("InvalidParameterException", ecs.describe_tasks, tasks=arns[:101])
    refused("InvalidParameterException", ecs.list_tasks, startedBy="a", family="web")


def idempotency():
    """One token, one task; with other parameters it conflicts."""
    ecs = client()
    definition(ecs)
    first = ecs.run_task(**asked(clientToken="t"))["tasks"][0]["taskArn"]
    assert ecs.run_task(**asked(clientToken="t"))["tasks"][0]["taskArn"] == first
    refused("ConflictException", ecs.run_task, **asked(clientToken="t", count=2))
    assert len(ecs.list_tasks()["taskArns"]) == 1


def keys():
    """Wrong keys and skewed clocks are refused; a web identity gets keys."""
    refused("InvalidSignatureException", client(secret="wrong").list_tasks)
    refused("UnrecognizedClientException", client(key="nobody").list_tasks)
    for skew in (1000, -1000):
        admin("PATCH", "settings", {"clockSkewSeconds": skew})
        refused("InvalidSignatureException", client().list_tasks)
    admin("PATCH", "settings", {"clockSkewSeconds": 0})
    sts = client("sts")
    role = "arn:aws:iam::123456789012:role/burstlet"
    given = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="burstlet", WebIdentityToken="token")["Credentials"]
    granted = dict(key=given["AccessKeyId"], secret=given["SecretAccessKey"])
    client(**granted, token=given["SessionToken"]).list_tasks()
    for token in (None, "another"):
        refused("UnrecognizedClientException", client(**granted, token=token).list_tasks)
    admin("POST", "advance", {"by": "1h"})
    refused("ExpiredTokenException", client(**granted, token=given["SessionToken"]).list_tasks)


def limits():
    """Every limit is held, and shortages are told."""
    ecs = client()
    definition(ecs)
    refused("ClientException", definition, ecs=ecs, cpu="256", memory="1536")
    refused("ClientException", definition, ecs=ecs, networkMode="bridge")
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    for more in (dict(count=11), dict(capacityProviderStrategy=strategy), dict(startedBy="a b"), dict(clientToken="x" * 65)):
        refused("InvalidParameterException", ecs.run_task, **asked(**more))
    both = [dict(capacityProvider=name, base=1, weight=1) for name in ("FARGATE", "FARGATE_SPOT")]
    network = asked()["networkConfiguration"]
    refused("InvalidParameterException", ecs.run_task, taskDefinition="web", networkConfiguration=network, capacityProviderStrategy=both)
    admin("PATCH", "settings", {"zones": {"subnet-1": {"instances": 0}}})
    answer = ecs.run_task(**asked())
    assert not answer["tasks"] and answer["failures"][0]["reason"].startswith("Capacity is unavailable"), answer
    admin("PATCH", "settings", {"zones": {}, "quotaCpu": 0})
    assert "limit on the number of vCPUs" in refused("ClientException", ecs.run_task, **asked())
    admin("PATCH", "settings", {"throttleRates": {"DescribeTasks": {"burst": 1, "perSecond": 0.01}}})
    ecs.list_tasks()
    refused("ThrottlingException", ecs.list_tasks)


def spot():
    """Spot is taken back with notice; a task that ends early is charged for a minute."""
    ecs = client()
    definition(ecs, cpu="1024", memory="2048")
    network = asked()["networkConfiguration"]
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    arn = ecs.run_task(taskDefinition="web", networkConfiguration=network, capacityProviderStrategy=strategy)["tasks"][0]["taskArn"]
    admin("POST", "advance", {"by": "1h"})
    admin("POST", "reclaim", {"id": arn})
    assert ecs.describe_tasks(tasks=[arn])["tasks"][0]["desiredStatus"] == "STOPPED"
    admin("POST", "advance", {"by": "1h"})
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert (task["stopCode"], task["capacityProviderName"]) == ("SpotInterruption", "FARGATE_SPOT"), task
    short = ecs.run_task(**asked())["tasks"][0]["taskArn"]
    ecs.stop_task(task=short)
    second = 1.1244e-5 + 2 * 1.2347e-6
    expected = 3720 * 0.3 * second + 60 * second
    cost = admin("GET", "bill")["totals"]["USD"]
    assert abs(cost / expected - 1) < 0.01, (cost, expected)


def logs():
    """What a container prints is in its stream, from the last lines backwards and from the first ones on."""
    admin("PATCH", "settings", {"throttle": False})
    ecs, logs = client(), client("logs")
    logs.create_log_group(logGroupName="web")
    refused("ResourceAlreadyExistsException", logs.create_log_group, logGroupName="web")
    options = {"awslogs-group": "web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}
    script = "; ".join(f"echo line {number}; sleep 1" for number in range(5))
    definition(ecs, containerDefinitions=[{
        "name": "app", "image": "nginx", "entryPoint": ["sh", "-c", script],
        "logConfiguration": {"logDriver": "awslogs", "options": options}}])
    task = ecs.run_task(**asked())["tasks"][0]["taskArn"].rsplit("/")[-1]
    stream = dict(logGroupName="web", logStreamName=f"p/app/{task}")
    assert "stream" in refused("ResourceNotFoundException", logs.get_log_events, **stream), "nothing runs yet"
    admin("POST", "advance", {"by": "1m"})
    told = lambda **more: [event["message"] for event in logs.get_log_events(**{**stream, **more})["events"]]
    everything = ["app started"] + [f"line {number}" for number in range(5)]
    assert told() == everything, told()
    assert told(limit=2) == everything[-2:] and told(limit=2, startFromHead=True) == everything[:2]
    events = logs.get_log_events(**stream)["events"]
    assert told(startTime=events[3]["timestamp"]) == everything[3:]
    assert told(endTime=events[3]["timestamp"]) == everything[:3]
    page, found = logs.get_log_events(**stream, limit=4), []
    while page["events"]:
        found = page["events"] + found
        page = logs.get_log_events(**stream, limit=4, nextToken=page["nextBackwardToken"])
    assert [event["message"] for event in found] == everything
    assert page["nextBackwardToken"] == logs.get_log_events(**stream, nextToken=page["nextBackwardToken"])["nextBackwardToken"]
    assert "group" in refused("ResourceNotFoundException", logs.get_log_events, **{**stream, "logGroupName": "other"})
    refused("InvalidParameterException", logs.get_log_events, **stream, limit=10001)
    refused("InvalidSignatureException", client("logs", secret="wrong").get_log_events, **stream)


def group():
    """Makes the group that pools write their logs to."""
    client("logs").create_log_group(logGroupName="web")


def moto():
    """Serves moto's ECS and logs with signatures checked, says where, and writes a log to each stream that it is told of."""
    import time

    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"

    def post(path, body):
        urllib.request.urlopen(urllib.request.Request(address + path, body.encode(), {"content-type": "application/json"}))

    post("/moto-api/state-manager/set-transition",
         json.dumps({"model_name": "ecs::task", "transition": {"progression": "manual", "times": 1}}))
    client(address=address).create_cluster(clusterName="c")
    subnet = client("ec2", address=address).describe_subnets()["Subnets"][0]["SubnetId"]
    iam = client("iam", address=address)
    iam.create_user(UserName="burstlet")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="burstlet", PolicyName="all", PolicyDocument=json.dumps(allowed))
    key = iam.create_access_key(UserName="burstlet")["AccessKey"]
    post("/moto-api/reset-auth", "0")
    print(json.dumps({"address": address, "subnet": subnet, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}), flush=True)
    logs = client("logs", key=key["AccessKeyId"], secret=key["SecretAccessKey"], address=address)
    logs.create_log_group(logGroupName="web")
    for line in sys.stdin:
        stream, now = line.strip(), int(time.time() * 1000)
        logs.create_log_stream(logGroupName="web", logStreamName=stream)
        events = [{"timestamp": now - 3000 + number, "message": f"line {number}"} for number in range(2500)]
        logs.put_log_events(logGroupName="web", logStreamName=stream, logEvents=events)
        print("written", flush=True)
    server.stop()


globals()[sys.argv[2]]()
