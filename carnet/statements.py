"""The table of what Carnet signs: one codec for each kind of statement (docs/protocol.md, "Statements").

| statement | signed by |
|---|---|
| MANIFEST, ADDENDUM | a client key of the tenant |
| KEY_SET | the tenant root |
| STATUS, OWNERSHIP | the operator's CA |
| KEY_STATEMENT, CARD, START, RECEIPT | the runner's leaf |
| DECISION, PERMIT, GRANT, RENEWAL | the gateway |
"""

from typing import Final

from carnet.core import limits
from carnet.core.credential import TenantKeySet
from carnet.core.decision import DecisionRecord, Permit
from carnet.core.encoding import StatementKind as Kind
from carnet.core.job import Addendum, Manifest
from carnet.core.lease import Grant, Renewal
from carnet.core.receipt import Receipt, Start
from carnet.core.runner import KeyStatement, Ownership, RunnerCard, RunnerStatus
from carnet.v1 import statements_pb2 as pb
from carnet.wire import Codec

_large: Final = limits.manifest_bytes_max

MANIFEST: Final = Codec(kind=Kind.MANIFEST, value=Manifest, message=pb.Manifest, bytes_max=_large)
ADDENDUM: Final = Codec(kind=Kind.ADDENDUM, value=Addendum, message=pb.Addendum)
KEY_SET: Final = Codec(kind=Kind.TENANT_KEY_SET, value=TenantKeySet, message=pb.TenantKeySet)
STATUS: Final = Codec(kind=Kind.RUNNER_STATUS, value=RunnerStatus, message=pb.RunnerStatus)
OWNERSHIP: Final = Codec(kind=Kind.OWNERSHIP, value=Ownership, message=pb.Ownership)
KEY_STATEMENT: Final = Codec(kind=Kind.KEY_STATEMENT, value=KeyStatement, message=pb.KeyStatement)
CARD: Final = Codec(kind=Kind.RUNNER_CARD, value=RunnerCard, message=pb.RunnerCard)
START: Final = Codec(kind=Kind.START, value=Start, message=pb.Start)
RECEIPT: Final = Codec(kind=Kind.RECEIPT, value=Receipt, message=pb.Receipt, bytes_max=_large)
DECISION: Final = Codec(kind=Kind.DECISION, value=DecisionRecord, message=pb.DecisionRecord)
PERMIT: Final = Codec(kind=Kind.PERMIT, value=Permit, message=pb.Permit)
GRANT: Final = Codec(kind=Kind.GRANT, value=Grant, message=pb.Grant)
RENEWAL: Final = Codec(kind=Kind.RENEWAL, value=Renewal, message=pb.LeaseRenewal)
