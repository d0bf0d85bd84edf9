"""What came home, on disk: results into a folder, the receipt into a file. Nothing is ever overwritten.

- `check_free` is asked before a job is sent: a job must not run only to find its results unwelcome.
- The receipt lies beside the results' folder, not in it: the folder holds the job's own files alone.

    home = Homecoming(output=Path("out"), receipt=None)
    home.check_free()
    outcome = await home.take(client, name)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.cli.output import dollars, say, seconds
from carnet.core.errors import FieldInvalid

if TYPE_CHECKING:
    from carnet.answers import Outcome
    from carnet.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Homecoming:
    """Where results and receipt go. With no `output` results stay at the gateway, sealed, and the receipt comes."""

    output: Path | None
    receipt: Path | None

    def receipt_path(self, name: str) -> Path:
        """The receipt's file: as asked, else beside the output, else named for the job, here."""
        if self.receipt is not None:
            return self.receipt
        if self.output is not None:
            return self.output.with_name(self.output.name + ".receipt")
        return Path(name.rpartition("/")[2] + ".receipt")

    def check_free(self) -> None:
        """Raise `FieldInvalid` where something is in the way."""
        if self.output is not None:
            if not self.output.name:
                raise FieldInvalid("--output must name a folder of its own.", metadata={"field": "output"})
            if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
                raise FieldInvalid(f"{self.output} is not an empty folder.", metadata={"field": "output"})
        if self.receipt is not None or self.output is not None:
            _check_absent(self.receipt_path(""))

    async def take(self, client: "Client", name: str) -> "Outcome":
        """Fetch, verify, open, and put everything in its place."""
        receipt = self.receipt_path(name)
        _check_absent(receipt)
        if self.output is None:
            outcome = await client.receipt(name)
        else:
            self.output.mkdir(parents=True, exist_ok=True)
            outcome = await client.result(name, self.output)
        with receipt.open("xb") as file:
            file.write(outcome.receipt_file)
        self._tell(outcome, receipt)
        return outcome

    def _tell(self, outcome: "Outcome", receipt: Path) -> None:
        from carnet.cli.proven import result_count

        proven = outcome.receipt
        what, meter = proven.receipt, proven.receipt.meter
        say(
            f"{what.exit_class} in {what.jurisdiction} on {what.spiffe_id}: exit code {what.exit_code}, "
            f"{seconds(meter.wall_ms)}, {dollars(meter.price_micro_usd)}",
            style="green" if outcome.succeeded else "red",
        )
        if self.output is not None:
            say(f"results  in {self.output}: {', '.join(file.name for file in outcome.results) or 'none'}")
        elif count := result_count(proven):
            say(f"results  wait, sealed, {count} in all: carnet job result {outcome.name} --output DIR")
        say(f"receipt  {receipt}, verified; again at any time: carnet audit verify {receipt} --pins PINS")


def _check_absent(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise FieldInvalid(f"{path} is there already, and nothing is overwritten.", metadata={"field": "receipt"})
