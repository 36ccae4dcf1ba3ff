-- The agency's sources, as an extraction lands them: journals without keys, where a correction is a further line.
create schema if not exists sigeti;

create table if not exists sigeti.zones (
    zone_id bigint not null,
    nom text not null,
    region text not null,
    superficie_totale_m2 numeric(14, 2) not null,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create table if not exists sigeti.entreprises (
    entreprise_id bigint not null,
    raison_sociale text not null,
    secteur text not null,
    pays text not null,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create table if not exists sigeti.demandes_implantation (
    demande_id bigint not null,
    zone_id bigint,
    entreprise_id bigint,
    superficie_m2 numeric(14, 2),
    date_demande date,
    date_decision date,
    decision text,
    date_attribution date,
    date_mise_en_exploitation date,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create table if not exists sigeti.indemnisations (
    indemnisation_id bigint not null,
    zone_id bigint,
    beneficiaire text,
    type_bien text,
    montant_du numeric(16, 2),
    montant_paye numeric(16, 2),
    date_evaluation date,
    date_paiement date,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create table if not exists sigeti.emplois (
    emploi_id bigint not null,
    zone_id bigint,
    entreprise_id bigint,
    date_declaration date,
    type_contrat text,
    sexe text,
    nb_prevus integer,
    nb_crees integer,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create table if not exists sigeti.factures (
    facture_id bigint not null,
    zone_id bigint,
    entreprise_id bigint,
    date_emission date,
    date_echeance date,
    montant_ttc numeric(16, 2) not null,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);

create table if not exists sigeti.paiements (
    paiement_id bigint not null,
    facture_id bigint not null,
    date_paiement date,
    montant numeric(16, 2) not null,
    numero_ligne bigint not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);
