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
from services.models.order_imports import OrderDraft, OrderImport, OrderImportError
from services.models.orders import (
    AttentionItem,
    Intent,
    IntentLine,
    LineMapping,
    Order,
    OrderEvent,
    OrderLine,
    OrderPolicy,
    Parcel,
    Return,
    ReturnLine,
    SupplierOrder,
)
from services.models.plans import Changeset, ChangesetItem, FeedPrint, Source
from services.models.sourcing import (
    Connection,
    OAuthState,
    Offer,
    OfferLink,
    OfferVariant,
    Quota,
    SyncRun,
    SyncSeen,
)

__all__ = [
    "AttentionItem",
    "Base",
    "Changeset",
    "ChangesetItem",
    "Connection",
    "Export",
    "FeedPrint",
    "IdempotencyKey",
    "Import",
    "ImportDraft",
    "ImportMissing",
    "ImportRowError",
    "Intent",
    "IntentLine",
    "Job",
    "JobEvent",
    "JobStat",
    "JobTotal",
    "LineMapping",
    "Member",
    "Merchant",
    "MerchantCap",
    "OAuthState",
    "Offer",
    "OfferLink",
    "OfferVariant",
    "Order",
    "OrderDraft",
    "OrderEvent",
    "OrderImport",
    "OrderImportError",
    "OrderLine",
    "OrderPolicy",
    "Parcel",
    "Process",
    "Product",
    "Queue",
    "Quota",
    "Return",
    "ReturnLine",
    "Schedule",
    "Source",
    "StatsPosition",
    "SupplierOrder",
    "SyncRun",
    "SyncSeen",
    "Variant",
]
