# METADATA
# title: EU dual-use export control, Regulation (EU) 2021/821
# description: |
#   Sending software or technology to a runner outside the customs territory is an export (Article 2(2)(d)). What is not
#   known to be free counts as listed. General authorisation EU001 is taken for listed codes that are not of Annex IV, and
#   that it does not exclude itself; a code that is too coarse to tell is.
# scope: package
package carnet.dualuse

import data.carnet.catalogue
import data.carnet.links
import data.carnet.places
import data.carnet.tables

customs_groups := ["EU", "EU_OUTERMOST", "EU_ALAND"]

customs := {member | some group in customs_groups; some member in tables.groups.rows[group].members}

default exports := false

exports if links.exporter_in(customs)

technology := input.job.technology

listed := {code | some code in technology.eu_codes}

# Controlled, or not known to be free, whether or not the facts give a code of Annex I. A code of the US says that there is
# something to control and not what Annex I calls it; EAR99 alone says that there is nothing.
doubted if technology.controlled == "unknown"

doubted if {
	technology.controlled == "yes"
	not free
}

free if {
	count(technology.eccns) > 0
	every code in technology.eccns {
		code == "EAR99"
	}
}

default applies := false

applies if {
	exports
	count(listed) > 0
}

applies if {
	exports
	doubted
}

annex_iv := links.codes("EU_ANNEX_IV")

# What is of Annex IV leaves no member state; where no code of Annex I is given, the codes of the US are read, which are
# numbered alike.
sensitive := {code |
	some code in coded
	links.covered(code, annex_iv)
}

coded := listed if count(listed) > 0

coded := {code | some code in technology.eccns} if count(listed) == 0

ungeneral := annex_iv | links.codes("EU001_EXCLUDED")

# What may be of Annex IV, or may be what EU001 leaves out, has no general authorisation.
doubtful := {code |
	some code in listed
	links.named(code, ungeneral)
}

default general := set()

general := links.members("EU001") if {
	count(listed) > 0
	count(doubtful) == 0
}

licensed := links.licensed({"EU", "NATIONAL"}, listed)

default inside := set()

inside := customs if count(sensitive) == 0

# METADATA
# title: No export of a listed dual-use item without an authorisation
# custom:
#   id: EU-DU-ART3
#   stage: job
#   effect: deny
#   citations: [C-EU-DU-3, C-EU-DU-ANNEX]
#   effective_from: "2021-09-09"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["EU-DU-ART3"] := places.with_regions({country |
	applies
	some country in places.countries
	not country in (inside | (general | licensed))
})

explained["EU-DU-ART3"] := {"message": "dualuse.listed", "parameters": {"codes": sort(listed), "controlled": technology.controlled}, "fix": ["dualuse.fix.declare", "dualuse.fix.licence"]}

# METADATA
# title: No export for military or mass-destruction use to a country that the catch-all names
# custom:
#   id: EU-DU-ART4
#   stage: job
#   effect: deny
#   citations: [C-EU-DU-4]
#   effective_from: "2021-09-09"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["EU-DU-ART4"] := places.with_regions(caught)

default caught := set()

caught := places.countries - customs if {
	exports
	input.job.end_user.use == "wmd"
}

caught := links.members("EU_ARMS_EMBARGO") if {
	exports
	input.job.end_user.use in {"military", "unknown"}
}

explained["EU-DU-ART4"] := {"message": "dualuse.catch_all", "parameters": {"use": input.job.end_user.use}, "fix": ["dualuse.fix.use"]}

# METADATA
# title: Cyber-surveillance use outside the Union takes an authorisation
# custom:
#   id: EU-DU-ART5
#   stage: job
#   effect: deny
#   citations: [C-EU-DU-5]
#   effective_from: "2021-09-09"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["EU-DU-ART5"] := places.with_regions({country |
	exports
	input.job.end_user.use == "surveillance"
	some country in (places.countries - customs)
})

explained["EU-DU-ART5"] := {"message": "dualuse.surveillance", "parameters": {}, "fix": ["dualuse.fix.use"]}

dates := {day | exports; some day in ((links.group_dates({"EU001", "EU_ARMS_EMBARGO"}) | links.code_dates({"EU_ANNEX_IV", "EU001_EXCLUDED"})) | links.licence_dates)}

rows contains row if {
	applies
	some row in (links.used({"EU001"}) | links.codes_used({"EU_ANNEX_IV", "EU001_EXCLUDED"}))
}

rows contains row if {
	exports
	input.job.end_user.use in {"military", "unknown"}
	some row in links.used({"EU_ARMS_EMBARGO"})
}

rows contains row if {
	concerned
	some row in territory_rows
}

# Whether it matters where the customs territory ends.
concerned if technology.controlled != "no"

concerned if input.job.end_user.use != "civil"

territory_rows := catalogue.unverified("groups", {group: tables.groups.rows[group] | some group in customs_groups})
