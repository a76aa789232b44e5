output "worker_name" {
  description = "Name of the Worker."
  value       = cloudflare_worker.storefront.name
}

output "version_id" {
  description = "The version that answers all traffic."
  value       = cloudflare_worker_version.storefront.id
}

output "pages_namespace_id" {
  description = "KV namespace of the finished pages: the id for wrangler.toml's production block."
  value       = cloudflare_workers_kv_namespace.pages.id
}

output "route_ids" {
  description = "Ids of the routes, by pattern."
  value       = { for pattern, route in cloudflare_workers_route.shop : pattern => route.id }
}
