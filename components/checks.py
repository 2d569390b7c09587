"""What this project asks of names and schedules beyond the types of Kubernetes. No pulumi."""

import re
from ipaddress import ip_network

_DIGEST = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_CRON_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 6),
)
_CRON_ITEM = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>[1-9]\d*))?")

NOT_BY_DIGEST = (
    "not named by digest: write repository@sha256:<64 hex digits> "
    "(`docker buildx imagetools inspect <image>` shows it)"
)
MAX_CRON_JOB_NAME = 52
"""Kubernetes appends eleven characters to a CronJob's name for its Jobs."""


def image_by_digest(image: str, place: str) -> str:
    """Return the image when a digest names it: a tag can be moved to other code.

    Raises:
        ValueError: It has no digest.
    """
    if not is_by_digest(image):
        raise ValueError(f"{place}: image {image!r} is {NOT_BY_DIGEST}")
    return image


def is_by_digest(image: str) -> bool:
    """Whether it is `repository@sha256:<digest>`; a tag beside the digest changes nothing."""
    return _DIGEST.fullmatch(image) is not None


def cron_job_name(name: str, place: str) -> str:
    """Return the name when a CronJob can have it.

    Raises:
        ValueError: It is no DNS label, or too long.
    """
    if not _LABEL.fullmatch(name) or len(name) > MAX_CRON_JOB_NAME:
        raise ValueError(
            f"{place}: {name!r} cannot name a CronJob: lower-case letters, digits and -, "
            f"at most {MAX_CRON_JOB_NAME}"
        )
    return name


def cron_schedule(schedule: str, place: str) -> str:
    """Return the schedule when it is five numeric fields that Kubernetes takes.

    Names, `@daily` and `TZ=` are left out: the first two say nothing more, and Kubernetes refuses
    the third.

    Raises:
        ValueError: It is not; names the field.
    """
    fields = schedule.split(" ")
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            f"{place}: schedule {schedule!r} has {len(fields)} fields: write minute, hour, day of "
            "the month, month and day of the week, such as 30 2 * * *"
        )
    for text, (name, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_is_cron_item(item, low, high) for item in text.split(",")):
            raise ValueError(
                f"{place}: schedule {schedule!r}: {text!r} is no {name}: {low} to {high}, "
                "*, a-b, */n, or several with commas"
            )
    return schedule


def private_network(cidr: str, place: str) -> str:
    """Return a network in CIDR form, unless it is the whole internet.

    Raises:
        ValueError: It is no network, or is 0.0.0.0/0 or ::/0.
    """
    try:
        network = ip_network(cidr)
    except ValueError as error:
        raise ValueError(f"{place}: {cidr!r} is no network: {error}") from error
    if network.prefixlen == 0:
        raise ValueError(
            f"{place}: {cidr} is the whole internet: name the networks that are needed, "
            "such as those of the VPC endpoints"
        )
    return cidr


def _is_cron_item(item: str, low: int, high: int) -> bool:
    match = _CRON_ITEM.fullmatch(item)
    if match is None:
        return False
    if match["first"] is None:
        return True
    first, last = int(match["first"]), int(match["last"] or match["first"])
    # Kubernetes reads 5/10 as 5-59/10; nobody who writes it means that for sure.
    ambiguous = match["step"] is not None and match["last"] is None
    return low <= first <= last <= high and not ambiguous
