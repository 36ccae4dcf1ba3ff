{{ config(tags=['P2'], indexes=[{'columns': ['tranche_anciennete', 'niveau_risque']}]) }}

-- What is still open: owed to the agency (montant_encours), or owed by it (montant_crediteur: credit notes, overpayments).
with ouvertes as (
    select
        *,
        greatest(montant_solde, 0) as montant_encours,
        greatest(-montant_solde, 0) as montant_crediteur,
        case tranche_anciennete
            when '0-30' then 1
            when '31-60' then 2
            when '61-90' then 3
            when '91-180' then 4
            when 'plus de 180' then 5
        end as ordre_tranche
    from {{ ref('fait_factures') }}
    where montant_solde <> 0
),

entreprises as (
    select
        entreprise_id,
        sum(montant_encours) as montant_encours,
        coalesce(sum(montant_encours) filter (where jours_retard > 90), 0) as montant_ancien
    from ouvertes
    where entreprise_id is not null
    group by entreprise_id
),

-- The risk begins with the age (up to 60 days low, up to 180 medium, then high) and goes up by one level where at least
-- half of what the company owes is more than 90 days past due. An unknown company stays at the level of the age.
risques as (
    select
        ouvertes.*,
        case
            when ouvertes.ordre_tranche is null then null
            else
                (array['faible', 'moyen', 'eleve'])[
                    least(
                        3,
                        case when ouvertes.ordre_tranche <= 2 then 1 when ouvertes.ordre_tranche <= 4 then 2 else 3 end
                        + case
                            when entreprises.montant_encours > 0 and 2 * entreprises.montant_ancien >= entreprises.montant_encours
                                then 1
                            else 0
                        end
                    )
                ]
        end as niveau_risque
    from ouvertes
    left join entreprises on ouvertes.entreprise_id = entreprises.entreprise_id
),

groupes as (
    select
        tranche_anciennete,
        niveau_risque,
        ordre_tranche,
        count(*)::integer as nb_factures,
        count(distinct entreprise_id)::integer as nb_entreprises,
        sum(montant_ttc) as montant_facture,
        sum(montant_encaisse) as montant_encaisse,
        sum(montant_encours) as montant_encours,
        coalesce(sum(montant_encours) filter (where jours_retard < 0), 0) as montant_non_echu,
        sum(montant_crediteur) as montant_crediteur,
        round(avg(greatest(jours_retard, 0)) filter (where jours_retard is not null), 2) as retard_moyen_jours,
        max(greatest(jours_retard, 0)) filter (where jours_retard is not null) as retard_max_jours
    from risques
    group by tranche_anciennete, niveau_risque, ordre_tranche
)

select
    {{ surrogate_key(['tranche_anciennete', 'niveau_risque']) }} as creances_agees_sk,
    tranche_anciennete,
    niveau_risque,
    ordre_tranche,
    {{ as_of() }} as date_arrete,
    nb_factures,
    nb_entreprises,
    montant_facture,
    montant_encaisse,
    montant_encours,
    montant_non_echu,
    montant_crediteur,
    montant_encours - montant_crediteur as montant_net,
    {{ share('montant_encours', 'sum(montant_encours) over ()') }} as part_encours,
    retard_moyen_jours,
    retard_max_jours
from groupes
