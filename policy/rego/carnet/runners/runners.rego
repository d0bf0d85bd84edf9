# METADATA
# title: Stage 2, a short list of runners in one batch
# description: |
#   Each rule of this stage says which runners pass. A runner is permitted if its place is, and if it is in the set of
#   every rule in force: a rule that is undefined passes nobody.
# scope: package
package carnet.runners

import data.carnet.baseline
import data.carnet.catalogue
import data.carnet.constraints
import data.carnet.dsp
import data.carnet.ear
import data.carnet.exposure
import data.carnet.gdpr
import data.carnet.itar
import data.carnet.main
import data.carnet.ofac
import data.carnet.overlays
import data.carnet.places
import data.carnet.sectors
import data.carnet.swiss
import data.carnet.tables
import data.carnet.uk

passed := object.union_n([
	baseline.passed,
	constraints.passed,
	dsp.passed,
	ear.passed,
	exposure.passed,
	gdpr.passed,
	itar.passed,
	ofac.passed,
	sectors.passed,
	swiss.passed,
	uk.passed,
	main.added(overlays.passed),
])

required := catalogue.ids("runner", {"deny"})

cautions := catalogue.ids("runner", {"warn"})

place_permitted(place) if main.opened(place)

# Why a place is not permitted: the rules that name it; of its country or code where none names the region itself.
place_reasons(place) := {id |
	some id, found in main.blocked
	some code in {place, places.country_of(place), places.code_of(place)}
	code in found
}

refused(i) := {id | some id in required; not i in passed[id]}

warned(i) := {id | some id in cautions; not i in passed[id]}

default permitted(_) := false

permitted(i) if {
	place_permitted(input.runners[i].jurisdiction)
	count(refused(i)) == 0
	every id in required {
		i in passed[id]
	}
}

word(true) := "permit"

word(false) := "deny"

seen(runner) := {
	"jurisdiction": runner.jurisdiction,
	"operator": runner.operator.entity,
	"operator_country": runner.operator.country,
	"parent_country": runner.operator.parent_country,
	"evidence": runner.evidence,
	"isolation": runner.isolation,
}

reason(id, effect, runner) := catalogue.reason(id, effect, {runner.jurisdiction}, {
	"message": main.explained[id].message,
	"parameters": object.union(main.explained[id].parameters, seen(runner)),
	"fix": main.explained[id].fix,
})

denied_for(i) := refused(i) | {id |
	not place_permitted(input.runners[i].jurisdiction)
	some id in place_reasons(input.runners[i].jurisdiction)
}

reasons(i) := array.concat(
	[reason(id, "deny", input.runners[i]) | some id in sort(denied_for(i))],
	[reason(id, "warn", input.runners[i]) | some id in sort(warned(i))],
)

# What this stage looked at beside the rows that the decision names, and what the rules rest on that spoke of the runner.
unverified_rows(i) := ear.runner_rows(input.runners[i].gpu_models) | catalogue.unverified_citations(denied_for(i) | warned(i))

valid_until_ns(i) := catalogue.valid_until(main.dates | ear.runner_dates(input.runners[i].gpu_models))

answer := {
	"schema": "carnet.verdicts/v1",
	"verdicts": [{
		"spiffe_id": runner.spiffe_id,
		"verdict": word(permitted(i)),
		"obligations": main.obligations,
		"reasons": reasons(i),
		"unverified_rows_used": sort(unverified_rows(i)),
		"valid_until_ns": valid_until_ns(i),
	} |
		some i, runner in input.runners
	],
	"rules_evaluated": sort(required | cautions),
	"revisions": tables.revisions,
} if {
	input.schema == "carnet.input/v1"
	main.complete
	every id in required | cautions {
		main.explained[id]
		is_set(passed[id])
	}
}
