"""Every error that Carnet raises, in one tree, by who is to blame.

- `CallerError`: the caller asked for something malformed; the same call can never work.
- `PeerError`: the other side of a protocol said something that does not verify; do not go on with it.
- `Refused`: the request was understood and judged, and the answer is no.
- `Unavailable`: a part that is needed does not answer; nothing was done, and a retry may help.
- `Bug`: Carnet itself is wrong.

Each class below a family has a stable `reason` (the `ErrorInfo.reason` of the API) and its docstring is its default
text. `text` is for the client; `detail` is for the operator's log. Neither ever holds a payload or a secret.
`metadata` are short strings that the client may act on.

    raise FactsMismatch(detail="manifest image differs from facts", metadata={"field": "image"})
"""

from collections.abc import Mapping
from typing import ClassVar


class CarnetError(Exception):
    """Something went wrong in Carnet."""

    reason: ClassVar[str] = "BUG"

    def __init__(self, text: str = "", *, detail: str = "", metadata: Mapping[str, str] | None = None) -> None:
        self.text = text or (type(self).__doc__ or "").strip()
        self.detail = detail
        self.metadata = dict(metadata or {})
        super().__init__(self.text)


class CallerError(CarnetError):
    """The request is malformed."""

    reason = "FIELD_INVALID"


class PeerError(CarnetError):
    """The other side sent something that does not verify."""

    reason = "PEER_INVALID"


class Refused(CarnetError):
    """The request was judged, and refused."""

    reason = "POLICY_DENIED"


class Unavailable(CarnetError):
    """A part that is needed does not answer; try again later."""

    reason = "STORE_UNAVAILABLE"


class Bug(CarnetError):
    """An error inside Carnet."""

    reason = "BUG"


# --- the caller is to blame -------------------------------------------------------------------------------------


class FieldInvalid(CallerError):
    """A field of the request is not valid."""

    reason = "FIELD_INVALID"


class PageTokenInvalid(CallerError):
    """The page token is not one that this list gave out."""

    reason = "PAGE_TOKEN_INVALID"


class EnvelopeMalformed(CallerError):
    """The bytes are not a Carnet envelope or statement."""

    reason = "ENVELOPE_MALFORMED"


class PayloadNotEncrypted(CallerError):
    """The payload is not a sealed envelope; Carnet never takes plaintext."""

    reason = "PAYLOAD_NOT_ENCRYPTED"


class PayloadDigestMismatch(CallerError):
    """The payload differs from the digests that the client signed."""

    reason = "PAYLOAD_DIGEST_MISMATCH"


class FactsMismatch(CallerError):
    """The manifest and the declared facts contradict each other."""

    reason = "FACTS_MISMATCH"


class JurisdictionUnknown(CallerError):
    """The jurisdiction is not an ISO 3166 code that the policy data knows."""

    reason = "JURISDICTION_UNKNOWN"


class DeadlineRequired(CallerError):
    """A unary call needs a deadline."""

    reason = "DEADLINE_REQUIRED"


class RequestIdReused(CallerError):
    """This request id was used for another request."""

    reason = "REQUEST_ID_REUSED"


class JobIdTaken(CallerError):
    """This job id belongs to another manifest."""

    reason = "JOB_ID_TAKEN"


class OverlayTaken(CallerError):
    """This overlay's name belongs to another tenant."""

    reason = "OVERLAY_TAKEN"


class NotFound(CallerError):
    """There is no such resource, or it is not yours."""

    reason = "NOT_FOUND"


# --- the peer is to blame ---------------------------------------------------------------------------------------


class SignatureInvalid(PeerError):
    """A signature does not verify under the key that was expected."""

    reason = "SIGNATURE_INVALID"


class CredentialInvalid(PeerError):
    """A certificate, its chain, or a statement under it is not acceptable."""

    reason = "CERT_INVALID"


class ClientCertificateRequired(PeerError):
    """The call needs a client certificate."""

    reason = "CLIENT_CERT_REQUIRED"


class CredentialRevoked(PeerError):
    """The certificate or its status was revoked or is stale."""

    reason = "CERT_REVOKED"


class StatementInvalid(PeerError):
    """A signed statement does not say what it must."""

    reason = "STATEMENT_INVALID"


class EnvelopeUnopened(PeerError):
    """The envelope can not be opened."""

    reason = "ENVELOPE_UNOPENED"


class ProofInvalid(PeerError):
    """A proof of the audit log does not verify."""

    reason = "PROOF_INVALID"


class TokenInvalid(PeerError):
    """The token is not acceptable."""

    reason = "TOKEN_INVALID"


class TokenExpired(PeerError):
    """The token has expired."""

    reason = "TOKEN_EXPIRED"


class TokenAudience(PeerError):
    """The token was issued for another audience."""

    reason = "TOKEN_AUDIENCE"


# --- judged, and refused ----------------------------------------------------------------------------------------


class PolicyDenied(Refused):
    """Policy does not permit this job."""

    reason = "POLICY_DENIED"


class NoPermittedJurisdiction(Refused):
    """No jurisdiction is left that is both permitted and asked for."""

    reason = "NO_PERMITTED_JURISDICTION"


class NoCapacity(Refused):
    """No runner in a permitted jurisdiction can take the job."""

    reason = "NO_CAPACITY_IN_PERMITTED_JURISDICTION"


class ApprovalRequired(Refused):
    """The decision asks for an approval first."""

    reason = "APPROVAL_REQUIRED"


class RecipientKeyExpired(Refused):
    """The key that the job was wrapped for is no longer valid."""

    reason = "RECIPIENT_KEY_EXPIRED"


class ImageDigestRequired(Refused):
    """The image must be named by its digest."""

    reason = "IMAGE_DIGEST_REQUIRED"


class ImageNotAllowed(Refused):
    """The image is not on the allow-list, or is not what its digest says."""

    reason = "IMAGE_NOT_ALLOWED"


class RunnerDraining(Refused):
    """The runner takes no new jobs."""

    reason = "RUNNER_DRAINING"


class JobNotCancellable(Refused):
    """The job has already ended."""

    reason = "JOB_NOT_CANCELLABLE"


class JobNotWaiting(Refused):
    """The job does not wait for this."""

    reason = "JOB_NOT_WAITING"


class LeaseLost(Refused):
    """The lease of this attempt is no longer live."""

    reason = "LEASE_LOST"


class PolicyRevisionChanged(Refused):
    """The policy changed since the decision was made; prepare again."""

    reason = "POLICY_REVISION_CHANGED"


class RoleRequired(Refused):
    """The caller lacks the role for this call."""

    reason = "ROLE_REQUIRED"


class SecondPersonRequired(Refused):
    """This takes another person than the one whose work it is."""

    reason = "SECOND_PERSON_REQUIRED"


class NotReady(Refused):
    """It is not in the state that this needs."""

    reason = "NOT_READY"


class PolicyTestsFailed(Refused):
    """The revision does not pass its checks."""

    reason = "POLICY_TESTS_FAILED"


class ExemptionGone(Refused):
    """An exemption that the decision used was revoked, has expired or is used up; prepare again."""

    reason = "EXEMPTION_GONE"


class QuotaExceeded(Refused):
    """A quota or bound is used up."""

    reason = "QUOTA_EXCEEDED"


class JobFailed(Refused):
    """The job ran and did not succeed."""

    reason = "JOB_FAILED"


# --- a part does not answer -------------------------------------------------------------------------------------


class PolicyEngineUnavailable(Unavailable):
    """The policy engine gave no usable answer; nothing is dispatched without one."""

    reason = "POLICY_ENGINE_UNAVAILABLE"


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    reason = "STORE_UNAVAILABLE"


class SandboxUnavailable(Unavailable):
    """The sandbox engine does not answer, or can not hold what the profile asks."""

    reason = "SANDBOX_UNAVAILABLE"


class GatewayUnavailable(Unavailable):
    """The gateway does not answer."""

    reason = "GATEWAY_UNAVAILABLE"


# --- Carnet is to blame -----------------------------------------------------------------------------------------


class IllegalTransition(Bug):
    """This event is not legal in this state."""

    reason = "ILLEGAL_TRANSITION"
