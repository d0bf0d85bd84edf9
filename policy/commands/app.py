"""The `carnet policy` commands: what a compliance officer or a job's author asks on their own machine.

Each is loaded when it is called: one that reads a file need not wait for gRPC. So its help stands here as well.
"""

from typing import Final

from cyclopts import App

COMMANDS: Final = {
    "eval": ("evaluate:evaluate", "Decide on a job from its facts."),
    "why": (
        "questions:why",
        "Say what keeps a job out of places, and a runner out of the job: the first thing in the way, and all others.",
    ),
    "matrix": (
        "questions:matrix",
        "Show what would be permitted: a row a country, a column a class of data, all else as the facts say.",
    ),
    "list": ("rules:list_rules", "List the rules: what each is, what it cites, and whether it is in force."),
    "show": ("rules:show_rule", "Show one rule: its METADATA, what it cites, and where it is written."),
    "calendar": (
        "rules:show_calendar",
        "List what changes: adequacy and embargoes that begin or end, rules, draft law, and days of review.",
    ),
    "check": (
        "bundles:check_rules",
        "Hold rules to the profile, with ours loaded beside them; then to OPA's check and format, and to Regal's lint.",
    ),
    "fmt": ("bundles:format_rules", "Write Rego in OPA's own format, and print the files that were not in it."),
    "test": (
        "bundles:run_tests",
        "Run Rego tests with a real OPA, over our rules and the data that engines get; or officers' cases.",
    ),
    "bundle": ("bundles:write_bundle", "Write the bundle that an external OPA must run, and print its revision."),
    "simulate": (
        "simulate:simulate",
        "Ask a draft of every decision in a window, beside what is live: newly permitted first, then newly denied.",
    ),
    "key": ("releases:make_key", "Make a key to sign bundles with, or take the one that is there; print its keyid."),
    "release": (
        "releases:make_release",
        "Write our rules as a signed bundle, which a gateway runs and an OPA verifies; print what it is.",
    ),
    "verify": (
        "releases:verify_release",
        "Verify a bundle under a public key, and print what it is. Whether it has expired is not judged.",
    ),
    "submit": (
        "revisions:submit",
        "Hand in an overlay as a draft, and let the gateway look at it. It decides nothing yet.",
    ),
    "approve": (
        "revisions:approve",
        "Approve a draft that passes its checks. It takes the role policy.approver. Not for its author.",
    ),
    "activate": ("revisions:activate", "Let an approved revision decide, from now on. Not for its author."),
    "shadow": (
        "revisions:shadow",
        "Ask a revision beside the one that decides; it decides nothing. A tenant has one shadow.",
    ),
    "rollback": ("revisions:rollback", "Go back to a revision that was active before, or to no overlay at all."),
    "diff": (
        "revisions:diff",
        "Show what a revision changes, line by line, against another one, or against the one that decides now.",
    ),
    "revisions": ("revisions:list_revisions", "List the revisions of the own overlay, newest first."),
    "differences": ("revisions:list_differences", "Show the decisions that a shadow took otherwise, newest first."),
    "rules": (
        "revisions:list_live_rules",
        "List the rules that decide at the gateway now: those of all, and those of the own overlay.",
    ),
}

app = App(name="policy", help="Ask policy what it would say and why, and see, check and test its rules.")
for _name, (_place, _help) in COMMANDS.items():
    app.command(f"policy.commands.{_place}", name=_name, help=_help)
