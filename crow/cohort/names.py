"""What a column's name tells about it, in the words that cohorts use. A word counts only as a whole word."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

SUBJECTS = (
    "subject", "subject_id", "subjectid", "subj", "subj_id", "sub", "sub_id", "subject_label", "participant_id",
    "participant", "participantid", "participant_label", "ptid", "rid", "patient", "patient_id", "patientid", "patno",
    "individual", "individual_id", "oasisid", "oasis_id", "naccid", "eid", "person_id", "case_id", "mrn", "record_id",
    "src_subject_id", "subjectkey", "subject_key", "subject_no", "subject_nr", "subject_number", "subj_no", "pat_id",
    "patid", "proband", "probanden_id", "probanden_nr", "patienten_id", "patienten_nr", "patientennummer",
    "patienten_nummer",
    "versuchsperson", "vp", "vpn", "vp_code", "sujet", "sujet_id", "id_sujet", "id_patient", "sujeto", "paciente",
    "id_paciente", "paziente", "id_paziente", "codice_paziente", "soggetto", "id_soggetto", "codice_soggetto",
    "deelnemer", "deelnemer_id", "deelnemernummer", "patientnummer", "proefpersoon", "sujeito", "id_sujeito",
    "participante", "id_participante", "n_patient", "no_patient", "numero_patient", "pat_nr", "subject_code", "id",
)  # fmt: skip


def _whole(words: str) -> re.Pattern[str]:
    """One of the words (regular expressions, separated by blanks) anywhere in a name, as a whole word."""
    return re.compile(rf"(.*_)?({'|'.join(words.split())})(_.*)?")


SUBJECT = _whole(
    r"subj\w* participant\w* teilnehmer\w* patient\w* pat pacientes? pazienti? proband\w* versuchsperson\w* sujets?"
    r" sujetos? soggett[oi] sujeitos? deelnemer\w* proefpersoon\w* participantes? individuals? individu volunteer"
)
"""A word for a subject, anywhere in a name."""
SUBJECT_KEY = re.compile(r"(.*_)?[a-z]*(id|code|key|guid|nummer|number)|(.*_)?(nr|no|num)")
SESSION = re.compile(
    r"(viscode2?|visit(_?(code|name|id|label|no|num|number))?|session(_?(id|label|name))?|wave|time_?point|tp"
    r"|event(_?(id|name))?|redcap_event_name|mri_id|mr_id|visites?|besuch(s?_?(nr|nummer))?|visita|sitzung|bezoek|sessione|sessao"
    r"|welle|vague|messzeitpunkt|mzp)"
)
AGE = re.compile(
    r"(.*_)?(age|ageat\w*|alter|lebensalter|edad|leeftijd|idade|eta|alder)(_.*)?|age(mri|pet|scan|visit|bl|yrs?|years|mo|months?|days?)|\w+_?age_(yrs?|years)"
)
NOT_AGE = _whole(
    r"onset death died dementia dem diag\w* dx group gruppe band category cat brain predicted gap delta educ\w*"
    r" retire\w*"
    r" gestation\w* mother\w* father\w* maternal paternal parent\w* event contact conver\w* menarche menopause stop\w*"
    r" start\w* first last squared sq z bone skin beginn tod naissance muerte"
    r" nascita nascimento morte geboorte overlijden"
)
DATE = re.compile(
    r"(.*_)?((exam|scan|visit|mri|mr|pet|ct|study|session|ses|acq|acquisition|test|testing|assess|assessment|interview"
    r"|imaging|image|eval|sample|survey|clinic|update|download|birth|entry|death|onset)?dates?(time)?"
    r"|acq_time|[a-z]*datum|fecha|dos|dov|day_of_scan)(_.*)?"
    r"|data|data_((di|do|da|de|del|dell|della)_)?(esame|exame|visita|rmn?|risonanza|ressonancia|scan\w*|mri|consulta"
    r"|valutazione|avaliacao|prelievo)(_.*)?"
)
NOT_DATE = _whole(
    r"birth\w* dob yob updated? update download\w* entry entered stamp userdate\w* onset death creat\w* modif\w* bl"
    r" baseline"
    r" geburt\w* sterbe\w* eingabe\w* naissance nacimiento nascita nascimento geboorte\w* overlijden\w*"
)
BIRTH = _whole(
    r"birth date_?of_?birth year_?of_?birth birth_?(date|day|year|month|yr)\w* (pt)?dob\w* yob mob geb"
    r" geburts?_?(datum|tag|jahr|monat)\w* geboren naissance nacimiento nascita nascimento geboorte\w*"
)
YEARS = re.compile(
    r"t|time|times|years?|yrs?|jahre?|follow_?up|(time|years?|yrs?|jahre)_(bl|from|since|seit|in|to|after|of_follow|years?|yrs?).*"
    r"|(.*_)?(time|follow_?up|visit|since|delay)_(years?|yrs?)|years?_?bl|(test|scan|visit|obs|observation)_?time|zeit|zeitpunkt"
)
MONTHS = re.compile(
    r"m|mo|months?(_(bl|from|since|to|after|of_follow).*)?|(.*_)?(time|follow_?up|visit|delay)_months?|monate?(_.*)?|mois(_.*)?|meses(_.*)?|mesi(_.*)?|maanden?(_.*)?"
)
DAYS = re.compile(
    r"days?(_(bl|from|since|to|after|of_follow).*)?|(.*_)?(time|follow_?up|visit|delay|to_visit)_days?|mr_delay"
    r"|tage?(_.*)?|jours(_.*)?|dias(_.*)?|giorni(_.*)?|dagen(_.*)?|(a|visit|mr)dy|study_?day|day_of_study"
)
WEEKS = re.compile(
    r"weeks?(_(bl|from|since|to|after|of_follow).*)?|(.*_)?(time|follow_?up|visit|delay)_weeks?|wochen?(_.*)?|semaines(_.*)?|semanas(_.*)?|settimane(_.*)?|weken(_.*)?"
)
HOURS = re.compile(
    r"hours?(_(bl|from|since|to|after|of_follow).*)?|(.*_)?(time|follow_?up|visit|delay)_hours?|stunden?(_.*)?"
)
SITE = _whole(
    r"site siteid site_id center centre hospital zentrum centro scanner\w* manufacturer\w* vendor magnet"
    r" field_?strength"
    r" fldstreng\w* feldstaerke station_name device_serial\w* deviceserialnumber mri_info_deviceserialnumber coil"
    r" (software|freesurfer|fs|pipeline|recon|processing)_versions? manufacturers_model_name standort klinik"
)
STUDY = _whole("study studie etude estudio cohort kohorte cohorte project projekt dataset sample batch")
SEXES = "sex gender ptgender geschlecht geschl sexe sexo genero sesso geslacht"
SEX = _whole(f"{SEXES} m_f")
DIAGNOSIS = _whole(r"dx\w* diagnosis diag diagnose diagnosi diagnost\w* group gruppe groupe grupo gruppo groep")
CONSTANT = _whole(
    rf"{SEXES} race ptraccat ethnic\w* ptethcat hand handed\w* apoe\w*"
    r" birth\w* dob"
    r" yob geburt\w*"
)
EDUCATION = r"educ\w* pteducat edu edyrs bildung\w* ausbildung\w* schuljahre scolarita escolarid\w* opleiding\w*"
COVARIATE = re.compile(
    rf"{SEX.pattern}|{DIAGNOSIS.pattern}|{SITE.pattern}|"
    + _whole(
        rf"{EDUCATION} apoe\w* arm treatment race ptraccat ethnic\w* ptethcat ptmarry marital\w* hand handed\w* ses"
        rf" icv etiv"
        r" e_tiv tiv intra_?cranial\w* smok\w* amyloid_?status carrier estimated_?total_?intra_?cranial\w*"
    ).pattern
)
CATEGORY = re.compile(
    rf"(.*_)?({SEXES.replace(' ', '|')}|m_f|race|ptraccat|ethnic\w*|ptethcat|ptmarry|marital\w*"
    r"|group|gruppe|groupe|grupo|gruppo|groep|dx\w*|diagnosis|diag|diagnosi|diagnose|hand|handedness|arm|treatment|apoe_?genotype)"
    rf"(_(id|code|bl|label|status|name))?|{SITE.pattern}"
)
CLINICAL = _whole(
    r"mmse cdr\w* adas\w* ravlt\w* faq\w* moca e_?cog\w* gds\w* npi\w* updrs\w* ldel\w* trab\w* trail\w* digit\w*"
    r" mpacc\w*"
    r" tmt\w* bnt\w* avlt\w* memory fluency stroop wais\w* wms\w* height weight bmi bp systolic diastolic pulse"
    r" heart_?rate"
)
QUALITY = _whole(
    r"motion fd mean_fd framewise\w* dvars euler\w* holes surface_?holes qc qa rating defects"
    r" (image_?|scan_?)quality\w*"
    r" quality_?(score|rating|index)"
    r" asf head_?scal\w* v_?scaling scaling scale_factor"
)
"""Motion, image quality and head scaling."""
FAMILY = _whole(
    r"family family_?id fam fam_?id famid family_?no familie\w* famille familia twin_?pair pair_?id pairid"
    r" household\w* pedigree sibship sibs?_?(id|pair|group|no) siblings? sibling_?(id|pair|group|no)"
    r" twin_?(id|no|group)"
    r" (mother|father|maternal|paternal|parent|mum|dad)_?id kinship couple\w* dyad\w* zwillingspaar paar spouse\w* pair"
)
NOT_FAMILY = _whole(r"history hx income size status type income members n num situation")
IDENTITY = _whole(r"id ids uid guid barcode loniuid imageuid key code runno nummer number no nr")
NOTES = _whole(
    r"version stamp path file filename url comments? notes? colprot origprot fsversion downloaded description"
    r" bemerkung\w*"
    r" kommentar\w* remarque\w* comentario\w*"
)
ROW_NUMBER = re.compile(r"(row_?)?(index|number|nr|no|names?|num|id)?|rownames?|column_\d+|unnamed.*|lfd(_?nr)?|x|x_?1")
COUNTER = _whole(r"instance repeat_?instance repeat repetition replicate attempt array run")
OUTCOME = _whole(
    r"outcome died dead death deceased conver\w* progress(ed|or|ors) endpoint final last censor\w* survival"
    r" vital_?status"
    r" final_?\w+ last_?\w+ dropout future worst ever braak pmi post_?mortem\w* autopsy neuropath\w* slope delta change"
    r" changes declin\w* annuali[sz]ed trajectory max min"
    r" konver\w* sterbe\w* gestorben verstorben tod todes\w* deces decede\w* mort muerte fallecid\w* morte deceduto"
    r" overleden overlijden\w* (ad|mci)conv\w* conv [ps]mci (mci|cn|nc|hc|scd|smc|emci|lmci)_?(to|2)_?(ad|mci|dem\w*)"
)
"""What is known when the study ends."""
NEXT = _whole(r"next following subsequent naechst\w* prochain\w* siguiente")
"""What is known at the next visit."""
BARE_OUTCOME = re.compile(r"(event|status|dem|dementia|demented|ad|incident_?\w+|\w+_event|event_\w+)")
"""The same, if another column of the table holds the age or the time of an event."""
EVENT_TIME = _whole(
    r"futime fu_?time fudays fu_?days follow_?up_?(time|years|months|days|duration) time_?to_?\w+"
    r" (years|months|days)_?to_?\w+"
    r" survival\w* tte os pfs duration total_?follow_?up"
)
BASELINE = _whole(r"bl baseline entry screening base enrol\w* inclusion")
ANATOMY = _whole(
    r"h?ip+o[ck]amp\w* am[yi]gdal\w* caudate\w* putamen pallid\w* thalam\w* accumbens\w* ventri[ck]\w* cort\w* ctx"
    r" thick\w* volumes? vol"
    r" surfarea lh rh gm wm csf gr[ae]y white matter brain\w* whole_?brain nwbv entorhinal fusiform mid_?temp"
    r" precuneus cingul\w*"
    r" insula gyrus gyri sulc\w* lobe frontal temporal parietal occipital cerebell\w* brainstem suvr uptake"
)
HEAD_SIZE = _whole(r"icv etiv e_tiv tiv intra_?cranial\w* intracranial\w* estimated_?total_?intra_?cranial\w*")
SIZE = re.compile(r".*_SIZE(_.*|$)", re.IGNORECASE)


@cache
def normal(name: str) -> str:
    """``AgeMRI`` -> ``age_mri``, ``MRI ID`` -> ``mri_id``, ``M/F`` -> ``m_f``, ``Âge (années)`` -> ``age_annees``."""
    plain = unicodedata.normalize("NFKD", name.strip().replace("ß", "ss"))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def is_age(name: str) -> bool:
    return matches(AGE, name) and not matches(NOT_AGE, name)


def is_date(name: str) -> bool:
    return matches(DATE, name) and not matches(NOT_DATE, name)


def matches(pattern: re.Pattern[str], name: str) -> bool:
    return bool(pattern.fullmatch(normal(name)))


def is_time(name: str) -> bool:
    """Whether the name is of a time in years, months, weeks, days or hours."""
    return any(matches(pattern, name) for pattern in (YEARS, MONTHS, WEEKS, DAYS, HOURS))


def is_label(name: str) -> bool:
    """Whether the numbers of a column only tell subjects, families, sites or visits apart."""
    return any(matches(pattern, name) for pattern in (SITE, FAMILY, IDENTITY, COUNTER, SESSION))
