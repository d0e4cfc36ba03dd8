"""Tables, one module per aggregate. Import `Base` from here to have all of them in its metadata."""

from services.models.base import Base
from services.models.catalog import Product, Variant
from services.models.exports import Export
from services.models.imports import Import, ImportDraft, ImportMissing, ImportRowError
from services.models.jobs import (
    Job,
    JobEvent,
    JobStat,
    JobTotal,
    MerchantCap,
    Process,
    Queue,
    Schedule,
    StatsPosition,
)
from services.models.merchants import IdempotencyKey, Member, Merchant
from services.models.plans import Changeset, ChangesetItem, FeedPrint, Source

__all__ = [
    "Base",
    "Changeset",
    "ChangesetItem",
    "Export",
    "FeedPrint",
    "IdempotencyKey",
    "Import",
    "ImportDraft",
    "ImportMissing",
    "ImportRowError",
    "Job",
    "JobEvent",
    "JobStat",
    "JobTotal",
    "Member",
    "Merchant",
    "MerchantCap",
    "Process",
    "Product",
    "Queue",
    "Schedule",
    "Source",
    "StatsPosition",
    "Variant",
]
