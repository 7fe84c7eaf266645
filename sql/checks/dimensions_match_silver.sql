/*
description = "Every customer, product and price of silver is in its dimension, and nothing else is."
scope = "linked"
*/
with

entries as (
    select 'dim_customers' as model, customer_id as id, 1 as side
    from gold.dim_customers
    union all
    select 'dim_customers' as model, customer_id as id, -1 as side
    from silver.customers
    union all
    select 'dim_products' as model, product_id as id, 1 as side
    from gold.dim_products
    union all
    select 'dim_products' as model, product_id as id, -1 as side
    from silver.products
    union all
    select 'dim_prices' as model, price_id as id, 1 as side
    from gold.dim_prices
    union all
    select 'dim_prices' as model, price_id as id, -1 as side
    from silver.prices
)

select
    model,
    id,
    cast(sum(side) as bigint) as rows_too_many,
from entries
group by model, id
having sum(side) <> 0
