# METADATA
# title: Stage 1, the whole decision on one job
# description: |
#   Each regime yields sets of places; what is permitted is every place less their union. The body is defined only if
#   every rule in force was evaluated and every rule that decided explains itself: anything missing leaves it undefined,
#   and undefined is a refusal. An organisation's overlay adds to these sets under its own ids, and an exemption takes
#   its places out of its rule's.
# scope: package
package carnet.main

import data.carnet.baseline
import data.carnet.catalogue
import data.carnet.china
import data.carnet.constraints
import data.carnet.dsp
import data.carnet.dualuse
import data.carnet.ear
import data.carnet.enduse
import data.carnet.exemptions
import data.carnet.exposure
import data.carnet.gdpr
import data.carnet.india
import data.carnet.itar
import data.carnet.links
import data.carnet.ofac
import data.carnet.overlays
import data.carnet.places
import data.carnet.russia
import data.carnet.saudi
import data.carnet.sectors
import data.carnet.swiss
import data.carnet.tables
import data.carnet.uk

evaluated_blocks := object.union_n([
	baseline.blocked,
	china.blocked,
	constraints.blocked,
	dsp.blocked,
	dualuse.blocked,
	ear.blocked,
	enduse.blocked,
	gdpr.blocked,
	india.blocked,
	itar.blocked,
	ofac.blocked,
	russia.blocked,
	saudi.blocked,
	sectors.blocked,
	swiss.blocked,
	uk.blocked,
	added(overlays.blocked),
])

evaluated_warnings := object.union_n([
	baseline.warned,
	china.warned,
	ear.warned,
	gdpr.warned,
	india.warned,
	sectors.warned,
	swiss.warned,
	uk.warned,
	added(overlays.warned),
])

evaluated_duties := object.union_n([
	baseline.obliged,
	constraints.obliged,
	gdpr.obliged,
	added(overlays.obliged),
])

explained := object.union_n([
	baseline.explained,
	china.explained,
	constraints.explained,
	dsp.explained,
	dualuse.explained,
	ear.explained,
	enduse.explained,
	exposure.explained,
	gdpr.explained,
	india.explained,
	itar.explained,
	ofac.explained,
	russia.explained,
	saudi.explained,
	sectors.explained,
	swiss.explained,
	uk.explained,
	{id: words | some id, words in overlays.explained; own(id); told(words)},
])

# What an overlay says counts under the ids of its own rules alone, and where it is a set.
added(sets) := {id: found | some id, found in sets; own(id); is_set(found)}

own(id) if {
	tables.rules.rows[id].overlay == input.gateway.overlay
	input.gateway.overlay != ""
}

# Words that the catalogue of sentences has.
told(words) if {
	tables.messages.rows[words.message]
	is_object(words.parameters)
	every fix in words.fix {
		tables.messages.rows[fix]
	}
}

blocked := {id: found |
	some id, whole in evaluated_blocks
	id in catalogue.in_force
	found := whole - exemptions.lifted_from(id)
	count(found) > 0
}

permitted := places.universe - union({found | some found in blocked})

# What the answer may be asked about: the places that `only` names, or all of them.
asked(found) := found - (shown_by_code | outside)

outside := {place |
	constraints.limited
	some place in union({found | some found in blocked})
	constraints.left_out(place)
}

# A region that has a country code of its own is shown by that code.
shown_by_code := object.keys(places.coded) - places.named

# Where `only` is the one limit that keeps a place out.
only_limit := object.get(blocked, "ORG-ONLY", set()) - union({found | some id, found in blocked; id != "ORG-ONLY"})

# A rule that blocks every place has a reason that names none.
everywhere := {id | some id, found in blocked; count(places.universe - found) == 0}

deciding := object.union(
	{id: set() | some id in everywhere},
	{id: found |
		some id, whole in blocked
		not id in everywhere
		found := relevant(id, whole)
		count(found) > 0
	},
)

relevant(id, found) := only_limit - shown_by_code if {
	id == "ORG-ONLY"
} else := asked(found)

denials := [catalogue.reason(id, "deny", deciding[id], explained[id]) |
	some id in array.concat(sort(object.keys(deciding) - {"ORG-ONLY"}), ["ORG-ONLY"])
	deciding[id]
]

# Rules that keep out none of the places that are asked about. A place that `only` leaves out may be asked about later:
# then the decision has the words of these too, apart from those that decided. What `only` does is first in its way.
elsewhere := {id: found |
	some id, whole in blocked
	not deciding[id]
	found := whole - shown_by_code
	count(found) > 0
}

reasons_elsewhere := [catalogue.reason(id, "deny", elsewhere[id], explained[id]) |
	some id in array.concat(["ORG-ONLY"], sort(object.keys(elsewhere) - {"ORG-ONLY"}))
	elsewhere[id]
]

warnings := [catalogue.reason(id, "warn", shown(found), explained[id]) |
	some id in sort(object.keys(evaluated_warnings))
	id in catalogue.in_force
	found := evaluated_warnings[id] & permitted
	count(found) > 0
]

# A warning of every place that is permitted names none.
shown(found) := found if {
	count(permitted - found) > 0
} else := set()

duties := {object.union(duty, {"rule": id}) |
	some id, found in evaluated_duties
	id in catalogue.in_force
	some duty in found
}

duty_reasons := [catalogue.reason(id, "oblige", set(), object.union(explained[id], {"fix": fixes(id)})) |
	some id in sort({duty.rule | some duty in duties})
]

fixes(id) := array.concat(explained[id].fix, ["carnet.fix.approval"]) if {
	waiting
	some duty in duties
	duty.rule == id
	duty.type == "approval"
} else := explained[id].fix

# One duty a type: the strictest, and of equals the first by rule.
obligations := [object.union(duty, {
	"citations": tables.rules.rows[duty.rule].citations,
	"enforcer": tables.settings.obligations[duty.type].enforcer,
}) |
	some type in sort({duty.type | some duty in duties})
	duty := strictest(type)
]

strictest(type) := [duty |
	some rule in sort({duty.rule | some duty in duties})
	some duty in duties
	duty.rule == rule
	duty.type == type
	weight(duty) == max({weight(other) | some other in duties; other.type == type})
][0]

weight(duty) := 0 - duty.value if tables.settings.obligations[duty.type].strictest == "least"

weight(duty) := duty.value if tables.settings.obligations[duty.type].strictest == "greatest"

weight(duty) := tables.settings.isolation[duty.value] if {
	tables.settings.obligations[duty.type].strictest == "isolation"
}

# Whether other persons must approve the job, and not enough of them have.
waiting if {
	some duty in obligations
	duty.type == "approval"
	not duty.value <= input.gateway.approvals
}

default verdict := "deny"

verdict := "permit" if {
	count(permitted) > 0
	not waiting
}

# What is permitted then is what would be, once it is approved.
verdict := "review" if {
	count(permitted) > 0
	waiting
}

rules_evaluated := catalogue.in_force & (object.keys(evaluated_blocks) | (object.keys(evaluated_warnings) | object.keys(evaluated_duties)))

# All that rules look at, there and of its kind. A missing list would look like an empty one, and `not f(missing)` is
# undefined, which in a set of blocked places would look like nothing to block.
shaped if {
	every word in [
		input.job.controller.country,
		input.job.data.origin_jurisdiction,
		input.job.constraints.isolation_min,
		input.gateway.screening,
		input.job.technology.controlled,
		input.job.technology.itar,
		input.job.end_user.entity,
		input.job.end_user.country,
		input.job.end_user.parent_country,
		input.job.end_user.use,
		input.job.purpose,
		input.gateway.overlay,
	] {
		is_string(word)
	}
	every list in [
		input.job.constraints.only,
		input.job.constraints.never,
		input.job.constraints.parent_never,
		input.job.data.classes,
		input.job.data.subject_jurisdictions,
		input.job.transfer.importers,
		input.job.transfer.mechanisms,
		input.job.technology.eccns,
		input.job.technology.eu_codes,
		input.job.technology.licences,
		input.job.controller.sectors,
		input.gateway.exemptions,
	] {
		is_array(list)
	}
	is_number(input.job.data.records)
	is_number(input.gateway.approvals)
	is_object(input.gateway.volumes)
	is_number(input.context.now_ns)
}

complete if {
	shaped
	links.listed
	overlays.known
	rules_evaluated == catalogue.ids("job", {"deny", "warn", "oblige"})
	every id, _ in blocked {
		explained[id]
	}
	every id in {id | some id, row in catalogue.rules; row.overlay != ""} {
		explained[id]
	}
	every duty in duties {
		weight(duty)
	}
	count(obligations) == count({duty.type | some duty in duties})
}

dates := union({
	baseline.dates,
	china.dates,
	constraints.dates,
	dsp.dates,
	dualuse.dates,
	ear.dates,
	enduse.dates,
	exemptions.dates,
	exposure.dates,
	gdpr.dates,
	india.dates,
	itar.dates,
	ofac.dates,
	overlays.dates,
	russia.dates,
	saudi.dates,
	sectors.dates,
	swiss.dates,
	uk.dates,
})

valid_until_ns := catalogue.valid_until(dates)

# The rules without which the answer would be another: they block, warn or oblige, or an exemption lifted them.
mattered := object.keys(blocked) | ({said.rule | some said in warnings} | ({duty.rule | some duty in duties} | {used[1] | some used in exemptions_used}))

unverified_rows := catalogue.unverified_citations(mattered) | union({
	baseline.rows,
	china.rows,
	constraints.rows,
	dsp.rows,
	dualuse.rows,
	ear.rows,
	enduse.rows,
	exposure.rows,
	gdpr.rows,
	india.rows,
	itar.rows,
	ofac.rows,
	overlays.rows,
	russia.rows,
	saudi.rows,
	sectors.rows,
	swiss.rows,
	uk.rows,
})

# Whether a place is permitted, for a region that no rule names by its country.
opened(place) if place in permitted

opened(place) if {
	not place in union({found | some found in blocked})
	places.is_region(place)
	places.country_of(place) in permitted
	places.code_of(place) in permitted
}

# Those without which a place that is permitted would be blocked.
exemptions_used := {[exemption.id, exemption.rule, exemption.expires_ns] |
	some exemption in exemptions.matching
	some place in (exemptions.covered(exemption) & evaluated_blocks[exemption.rule])
	opened(place)
}

body := object.union(answer, {name: said | some name, said in {"reasons_elsewhere": reasons_elsewhere}; count(said) > 0}) if {
	input.schema == "carnet.input/v1"
	complete
}

answer := {
	"schema": "carnet.decision/v1",
	"verdict": verdict,
	"permitted": sort(permitted),
	"blocked": {id: sort(found) | some id, found in blocked},
	"obligations": obligations,
	"reasons": array.concat(denials, array.concat(duty_reasons, warnings)),
	"rules_evaluated": sort(rules_evaluated),
	"exemptions_used": [{"id": used[0], "rule": used[1], "expires_ns": used[2]} | some used in sort(exemptions_used)],
	"unverified_rows_used": sort(unverified_rows),
	"valid_until_ns": valid_until_ns,
	"revisions": tables.revisions,
	"disclaimer": tables.settings.disclaimer,
}
