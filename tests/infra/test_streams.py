"""The delivery streams as the specification has them and as Firehose takes them."""

from __future__ import annotations

import json

import pytest
from templates import Deployment, needs_cdk

needs_cdk()

from infra.settings import LARGEST_BUFFER, settings  # noqa: E402

from ngu_points.aws.saved import BACKUP, FAILED  # noqa: E402

TABLES = ("batch-events", "staking-events")
KIND = "AWS::KinesisFirehose::DeliveryStream"


@pytest.fixture(params=TABLES)
def stream(request: pytest.FixtureRequest, deployed: Deployment) -> dict:
    """One stream of one stage."""
    return deployed["events"].one(KIND, DeliveryStreamName=deployed.name(request.param))


def destination(stream: dict) -> dict:
    return stream["HttpEndpointDestinationConfiguration"]


def test_records_are_put_directly_and_lie_encrypted(stream: dict) -> None:
    """DirectPut, with server-side encryption; one destination."""
    assert stream["DeliveryStreamType"] == "DirectPut"
    assert stream["DeliveryStreamEncryptionConfigurationInput"] == {"KeyType": "AWS_OWNED_CMK"}
    assert [key for key in stream if key.endswith("DestinationConfiguration")] == [
        "HttpEndpointDestinationConfiguration"
    ]


def test_the_buffer_is_the_specifications(stream: dict) -> None:
    """1 MB or 60 seconds, within what Firehose allows (1..64 MB, 0..900 s)."""
    hints = destination(stream)["BufferingHints"]
    assert hints == {"SizeInMBs": 1, "IntervalInSeconds": 60}
    assert LARGEST_BUFFER * (1 << 20) * 4 / 3 < 6_000_000  # what a function takes in base64
    saved = destination(stream)["S3Configuration"]["BufferingHints"]
    assert 1 <= saved["SizeInMBs"] <= 128
    assert 0 <= saved["IntervalInSeconds"] <= 900


def test_streams_are_compressed(stream: dict) -> None:
    """Requests and backup both."""
    assert destination(stream)["RequestConfiguration"]["ContentEncoding"] == "GZIP"
    assert destination(stream)["S3Configuration"]["CompressionFormat"] == "GZIP"


def test_deliveries_are_retried_for_an_hour(stream: dict) -> None:
    """RetryOptions takes 0..7200 seconds; the back-off is Firehose's own."""
    assert destination(stream)["RetryOptions"] == {"DurationInSeconds": 3600}


def test_each_stream_goes_to_the_persist_function_of_its_table(deployed: Deployment) -> None:
    """The URL is that of the function whose STREAM it is, over HTTPS."""
    stack = deployed["events"]
    for table in TABLES:
        made = stack.one(KIND, DeliveryStreamName=deployed.name(table))
        url = stack.plain(destination(made)["EndpointConfiguration"]["Url"])
        (logical,) = (
            name for name in stack.all("AWS::Lambda::Url") if url == f"<{name}.FunctionUrl>"
        )
        target = stack.plain(stack.all("AWS::Lambda::Url")[logical]["TargetFunctionArn"])
        function = stack.all("AWS::Lambda::Function")[target.strip("<>").partition(".")[0]]
        assert function["Environment"]["Variables"]["STREAM"] == table.partition("-")[0]


def test_all_records_are_saved_where_a_replay_looks(deployed: Deployment) -> None:
    """AllData, under backup/<table>/ by hour; what failed under failed/<table>/ by error."""
    for table in TABLES:
        full = deployed.name(table)
        made = deployed["events"].one(KIND, DeliveryStreamName=full)
        assert destination(made)["S3BackupMode"] == "AllData"
        saved = destination(made)["S3Configuration"]
        assert saved["Prefix"] == f"{BACKUP}{full}/!{{timestamp:yyyy/MM/dd/HH}}/"
        assert saved["ErrorOutputPrefix"] == (
            f"{FAILED}{full}/!{{firehose:error-output-type}}/!{{timestamp:yyyy/MM/dd/HH}}/"
        )
        bucket = deployed["data"].one("AWS::S3::Bucket")["BucketName"]
        arn = deployed["events"].plain(saved["BucketARN"])
        assert arn == f"arn:<AWS::Partition>:s3:::{deployed['data'].plain(bucket)}"


def test_the_access_key_stays_a_secret(deployed: Deployment) -> None:
    """Both read it from Secrets Manager; no template holds a key."""
    stack = deployed["events"]
    for made in stack.all(KIND).values():
        secret = destination(made)["SecretsManagerConfiguration"]
        assert secret["Enabled"] is True
        assert "AccessKey" in stack.plain(secret["SecretARN"])
        assert "AccessKey" not in destination(made)["EndpointConfiguration"]
    generated = deployed["data"].one("AWS::SecretsManager::Secret")
    assert generated["GenerateSecretString"]["GenerateStringKey"] == "api_key"
    assert json.loads(generated["GenerateSecretString"]["SecretStringTemplate"]) == {}
    assert generated["GenerateSecretString"]["PasswordLength"] <= 4096
    assert "SecretString" not in generated


def test_deliveries_and_backups_are_logged(deployed: Deployment) -> None:
    """Each log stream that a stream names is there."""
    stack = deployed["events"]
    logs = {
        (stack.plain(made["LogGroupName"]), made["LogStreamName"])
        for made in stack.all("AWS::Logs::LogStream").values()
    }
    groups = {f"<{name}>": made for name, made in stack.all("AWS::Logs::LogGroup").items()}
    named = {(groups[group]["LogGroupName"], stream) for group, stream in logs}
    for made in stack.all(KIND).values():
        for part in (destination(made), destination(made)["S3Configuration"]):
            options = part["CloudWatchLoggingOptions"]
            assert options["Enabled"] is True
            assert (options["LogGroupName"], options["LogStreamName"]) in named


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("bufferMb", "5", "1 to 4"),
        ("bufferMb", "0", "1 to 4"),
        ("bufferSeconds", "901", "0 to 900"),
        ("bufferSeconds", "-1", "0 to 900"),
        ("contentEncoding", "ZIP", "GZIP, NONE"),
        ("reserve", "maybe", "true, false"),
        ("rpcPorts", "443,x", "443,8545"),
        ("rpcPorts", "70000", "443,8545"),
        ("logLevel", "warning", "info, debug, warn, error"),
    ],
)
def test_what_the_operator_chooses_is_checked(name: str, value: str, says: str) -> None:
    """A range that no checker of templates knows ends with a line that names the option."""
    with pytest.raises(ValueError, match=says) as caught:
        settings("staging", {name: value}.get)
    assert f"-c {name}={value}" in str(caught.value)
