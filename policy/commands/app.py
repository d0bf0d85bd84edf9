"""The `carnet policy` commands: what a compliance officer or a job's author asks on their own machine."""

from cyclopts import App

from policy.commands import bundles, evaluate, questions, releases, revisions, rules, simulate

app = App(name="policy", help="Ask policy what it would say and why, and see, check and test its rules.")
app.command(evaluate.evaluate, name="eval")
app.command(questions.why)
app.command(questions.matrix)
app.command(rules.list_rules, name="list")
app.command(rules.show_rule, name="show")
app.command(rules.show_calendar, name="calendar")
app.command(bundles.check_rules, name="check")
app.command(bundles.format_rules, name="fmt")
app.command(bundles.run_tests, name="test")
app.command(bundles.write_bundle, name="bundle")
app.command(simulate.simulate)
app.command(releases.make_key, name="key")
app.command(releases.make_release, name="release")
app.command(releases.verify_release, name="verify")
app.command(revisions.submit)
app.command(revisions.approve)
app.command(revisions.activate)
app.command(revisions.shadow)
app.command(revisions.rollback)
app.command(revisions.diff)
app.command(revisions.list_revisions, name="revisions")
app.command(revisions.list_differences, name="differences")
app.command(revisions.list_live_rules, name="rules")
