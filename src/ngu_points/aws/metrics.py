"""The metrics that we publish ourselves, in one place: functions, monitor, alarms and dashboard.

Those that the specification names and AWS does not have (`DeliveryToDynamoDB.*`, buffer
utilisation, processing delay) are among them; AWS's own are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NAMESPACE = "NGU/Points"
SERVICE, STAGE, STREAM, TABLE = "Service", "Stage", "Stream", "Table"
"""Dimensions. Every metric has the first two; those of a stream or a table have one more."""

Unit = Literal["Count", "Percent", "Seconds", "Milliseconds", "None"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A name in our namespace; `per` is the third dimension, if there is one."""

    name: str
    unit: Unit
    per: str | None = None


# persist, once a delivery
DELIVERED = Metric("DeliveryToDynamoDB.Records", "Count", STREAM)  # records whose rows are new
SUCCESS = Metric("DeliveryToDynamoDB.Success", "Percent", STREAM)  # written or there, of received
DUPLICATES = Metric("DuplicateRecords", "Count", STREAM)
QUARANTINED = Metric("QuarantinedRecords", "Count", STREAM)
FAILED = Metric("FailedRecords", "Count", STREAM)  # of a delivery that was refused
BUFFER = Metric("BufferUtilization", "Percent", STREAM)  # bytes of a delivery of the buffer's size
REFUSED = Metric("RefusedRequests", "Count", STREAM)  # wrong key, unreadable

# process, once a run
PROCESSED = Metric("ProcessedEvents", "Count")
ANOMALIES = Metric("Anomalies", "Count")
STEPS = Metric("ProcessingSteps", "Count")

# the jobs function, every minute: the processing side, seen from outside
DELAY = Metric("EventProcessingDelay", "Seconds")  # age of the oldest unprocessed event
BACKLOG = Metric("Backlog", "Count")  # events announced beyond the position, or late
POSITION = Metric("ProcessedBlock", "None")
GAPS = Metric("Gaps", "Count")
DEAD_LETTERS = Metric("DeadLetters", "Count")
HEARTBEAT = Metric("Heartbeat", "Count")
JOB_FAILURES = Metric("JobFailures", "Count")

# the scale function, whenever it is called
RAISED = Metric("RaisedLimits", "Count")  # tables and functions above their own settings

# the event monitor, every minute
MONITOR_HEARTBEAT = Metric("MonitorHeartbeat", "Count")
HEAD = Metric("HeadBlock", "None")  # the newest block that the node has
SENT = Metric("SentBlock", "None")  # the last block that both streams have accepted
LAG = Metric("MonitorLag", "Count")  # blocks that finality allows and that are not sent
WATERMARK = Metric("ProcessedWatermark", "None")  # the position, as the monitor reads it
UNPROCESSED = Metric("UnprocessedBlocks", "Count")  # sent and not processed
OUTBOX = Metric("OutboxRecords", "Count")
SENT_RECORDS = Metric("SentRecords", "Count", STREAM)
RESENT_RECORDS = Metric("ResentRecords", "Count", STREAM)
FORKS = Metric("Forks", "Count")

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
