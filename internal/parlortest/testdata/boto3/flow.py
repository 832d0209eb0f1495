"""boto3 against a Parlor server: the main flow, typed exceptions, paging. PARLOR_URL
says where; a failed assertion is the answer."""

import datetime
import os

import boto3
import botocore.exceptions


def client(region="us-west-2", account="123456789012"):
    return boto3.client(
        "ivschat",
        endpoint_url=os.environ["PARLOR_URL"],
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="secret",
    )


def rejected(exception, call, **arguments):
    try:
        call(**arguments)
    except exception as e:
        return e.response
    raise AssertionError(f"want {exception.__name__}")


def plain(answer):
    answer.pop("ResponseMetadata")
    return answer


chat = client()
LAMBDA = "arn:aws:lambda:us-west-2:123456789012:function:review"

config = chat.create_logging_configuration(
    name="logs", destinationConfiguration={"s3": {"bucketName": "chat-logs"}}, tags={"a": "b"}
)
assert config["state"] == "ACTIVE", config
chat.update_logging_configuration(
    identifier=config["arn"], destinationConfiguration={"firehose": {"deliveryStreamName": "chat"}}
)
got = plain(chat.get_logging_configuration(identifier=config["arn"]))
assert got["destinationConfiguration"] == {"firehose": {"deliveryStreamName": "chat"}}, got
assert chat.list_logging_configurations()["loggingConfigurations"] == [got]

room = chat.create_room(
    name="lobby",
    maximumMessageLength=200,
    messageReviewHandler={"uri": LAMBDA, "fallbackResult": "DENY"},
    loggingConfigurationIdentifiers=[config["arn"]],
    tags={"team": "live \u2713"},
)
assert room["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == room["ResponseMetadata"]["RequestId"]
assert room["createTime"].tzinfo and abs(
    datetime.datetime.now(datetime.timezone.utc) - room["createTime"]
) < datetime.timedelta(minutes=1)
assert plain(chat.get_room(identifier=room["arn"])) == plain(room)
updated = chat.update_room(identifier=room["arn"], name="", messageReviewHandler={"uri": ""}, loggingConfigurationIdentifiers=[])
assert updated["name"] == "" and updated["maximumMessageLength"] == 200, updated
chat.tag_resource(resourceArn=room["arn"], tags={"k v/\u00e9": "1", "gone": ""})
chat.untag_resource(resourceArn=room["arn"], tagKeys=["gone", "never & there"])
assert chat.list_tags_for_resource(resourceArn=room["arn"])["tags"] == {"team": "live \u2713", "k v/\u00e9": "1"}

token = chat.create_chat_token(
    roomIdentifier=room["arn"], userId="ann", capabilities=["SEND_MESSAGE"], sessionDurationInMinutes=180, attributes={"k": "v"}
)
assert token["sessionExpirationTime"] - token["tokenExpirationTime"] == datetime.timedelta(hours=2), token
assert len(chat.send_event(roomIdentifier=room["arn"], eventName="x", attributes={"a": "b"})["id"]) == 12
assert len(chat.delete_message(roomIdentifier=room["arn"], id="M2YcHkgffEvU", reason="rude")["id"]) == 12
chat.disconnect_user(roomIdentifier=room["arn"], userId="ann")

# Every exception is one of the client's own, with the members of the model.
missing = room["arn"][:-12] + "RoomsMISSING"
e = rejected(chat.exceptions.ResourceNotFoundException, chat.get_room, identifier=missing)
assert e["ResponseMetadata"]["HTTPStatusCode"] == 404 and e["resourceId"] == "RoomsMISSING" and e["resourceType"] == "ROOM", e
rejected(chat.exceptions.ResourceNotFoundException, chat.create_chat_token, roomIdentifier=missing, userId="ann")
rejected(chat.exceptions.ResourceNotFoundException, chat.list_tags_for_resource, resourceArn=missing)
e = rejected(chat.exceptions.ValidationException, chat.create_room, name="a b", maximumMessageLength=501)
assert e["ResponseMetadata"]["HTTPStatusCode"] == 400 and e["reason"] == "FIELD_VALIDATION_FAILED", e
assert [f["name"] for f in e["fieldList"]] == ["name", "maximumMessageLength"], e
chat.update_room(identifier=room["arn"], loggingConfigurationIdentifiers=[config["arn"]])
e = rejected(chat.exceptions.ConflictException, chat.delete_logging_configuration, identifier=config["arn"])
assert e["ResponseMetadata"]["HTTPStatusCode"] == 409 and e["resourceId"] == config["id"], e
rejected(chat.exceptions.AccessDeniedException, client(account="999999999999").get_room, identifier=room["arn"])
e = rejected(botocore.exceptions.ClientError, chat.list_rooms, nextToken="x")
assert e["Error"]["Code"] == "ValidationException" and e["reason"] == "OTHER", e

# Pages, newest first; an empty token is the first page.
names = [f"page-{n}" for n in range(7)]
for name in names:
    chat.create_room(name=name)
seen, page = [], {"nextToken": ""}
while "nextToken" in page:
    page = chat.list_rooms(maxResults=3, nextToken=page["nextToken"])
    assert len(page["rooms"]) <= 3
    seen += page["rooms"]
assert [r["name"] for r in seen] == names[::-1] + [""], seen
assert [r["name"] for r in chat.list_rooms(name="page-3")["rooms"]] == ["page-3"]
assert [r["arn"] for r in chat.list_rooms(loggingConfigurationIdentifier=config["arn"])["rooms"]] == [room["arn"]]
assert client(region="eu-west-1").list_rooms()["rooms"] == []

for r in seen:
    chat.delete_room(identifier=r["arn"])
chat.delete_logging_configuration(identifier=config["arn"])
assert chat.list_rooms()["rooms"] == [] and chat.list_logging_configurations()["loggingConfigurations"] == []
rejected(chat.exceptions.ResourceNotFoundException, chat.get_room, identifier=room["arn"])
print("boto3", boto3.__version__)
