# METADATA
# title: Exemptions
# description: |
#   The organisation answers for it that a rule does not bind its job, somewhere and for a while: it asked, others
#   approved. An exemption takes its own places out of what its own rule blocks. It binds nothing else, it never matches
#   from its last instant on, and never at all where the rule's METADATA says that nobody is exempt.
# scope: package
package carnet.exemptions

import data.carnet.catalogue
import data.carnet.places

matching contains exemption if {
	some exemption in input.gateway.exemptions
	exemptible(exemption.rule)
	exemption.expires_ns > catalogue.now
	for_classes(exemption.classes)
	for_purpose(exemption.purposes)
}

exemptible(rule) if {
	row := catalogue.rules[rule]
	row.exemptible == true
	row.stage == "job"
	row.effect == "deny"
}

# No class means any; else the job has no class but those.
for_classes(classes) if count(classes) == 0

for_classes(classes) if {
	every class in input.job.data.classes {
		class in classes
	}
}

for_purpose(purposes) if count(purposes) == 0

for_purpose(purposes) if input.job.purpose in purposes

# Its places. A region and the country code that means the same place stand for each other.
covered(exemption) := places.with_regions({place | some place in exemption.places} | {places.coded[place] |
	some place in exemption.places
})

lifted_from(rule) := {place |
	some exemption in matching
	exemption.rule == rule
	some place in covered(exemption)
}

# Whether an exemption is all that keeps a rule from blocking a runner's place; `found` is what the rule blocks.
frees(rule, place, found) if {
	some lifted in (lifted_from(rule) & found)
	lifted in {place, places.code_of(place)}
}

dates := {exemption.expires_ns | some exemption in matching}
