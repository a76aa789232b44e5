-- What a store usually has: a row of stock, and for each order a row, its lines and an event.
create table stock(sku bigint primary key, available bigint not null check (available>=0), version bigint not null default 0) with (fillfactor=50);
create table orders(id bigint generated always as identity primary key, user_id bigint not null, sku bigint not null, total_cents bigint not null, status text not null default 'placed', created_at timestamptz not null default now());
create index orders_user on orders(user_id, id desc);
create table order_line(id bigint generated always as identity primary key, order_id bigint not null references orders(id), sku bigint not null, qty int not null, unit_cents bigint not null);
create index order_line_order on order_line(order_id);
create table outbox(id bigint generated always as identity primary key, topic text not null, key bigint not null, payload jsonb not null, created_at timestamptz not null default now(), sent_at timestamptz);
create index outbox_unsent on outbox(id) where sent_at is null;
insert into stock select g, 1000000000 from generate_series(1,1000) g;
vacuum analyze stock;
