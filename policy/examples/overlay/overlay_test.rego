# METADATA
# title: What the Klinikum asks of its own jobs
# scope: package
package carnet.org.klinikum_test

import data.carnet.fixtures
import data.carnet.main
import data.carnet.org.klinikum
import data.carnet.runners

asked(classes, approvals) := fixtures.with_values({
	"/gateway/overlay": "klinikum",
	"/gateway/approvals": approvals,
	"/job/data/classes": classes,
	"/job/transfer/mechanisms": [fixtures.clauses(["SG", "IN"], "operator.example")],
})

decided(classes, approvals) := body if {
	body := main.body with input as asked(classes, approvals)
}

rules(classes, isolation) := {reason.rule | some reason in found.verdicts[0].reasons; reason.effect == "deny"} if {
	runner := object.union(fixtures.runner("DE"), {"isolation": isolation})
	found := runners.answer with input as fixtures.asked(asked(classes, 1), [runner])
}

test_genetic_data_never_goes_to_singapore if {
	not "SG" in decided(["genetic"], 1).permitted
	"IN" in decided(["genetic"], 1).permitted
	decided(["genetic"], 1).blocked["KLINIKUM-GENETIC"] == ["SG"]
}

test_other_data_may if "SG" in decided(["health"], 0).permitted

test_genetic_data_waits_for_one_approval if {
	decided(["genetic"], 0).verdict == "review"
	decided(["genetic"], 1).verdict == "permit"
	decided(["health"], 0).verdict == "permit"
	klinikum.quorum == 1
}

test_genetic_data_runs_in_a_virtual_machine if {
	rules(["genetic"], "gvisor") == {"KLINIKUM-ISOLATION"}
	rules(["genetic"], "microvm") == set()
	rules(["genetic"], "tee") == set()
	rules(["health"], "gvisor") == set()
}
