# Finished pages that outlive an isolate. Losing them costs fetches, never data.
resource "cloudflare_workers_kv_namespace" "pages" {
  account_id = var.account_id
  title      = "${var.name}-pages"
}

resource "cloudflare_worker" "storefront" {
  account_id = var.account_id
  name       = var.name

  observability = {
    enabled            = true
    head_sampling_rate = var.log_sampling_rate
    logs = {
      enabled            = true
      head_sampling_rate = var.log_sampling_rate
      # A log of requests would hold addresses, and what people type into them.
      invocation_logs = false
    }
  }

  # Reached by its routes alone.
  subdomain = {
    enabled          = false
    previews_enabled = false
  }
}

# Any change of code or configuration makes a new version; versions are never changed.
resource "cloudflare_worker_version" "storefront" {
  account_id         = var.account_id
  worker_id          = cloudflare_worker.storefront.id
  main_module        = "index.js"
  compatibility_date = var.compatibility_date

  modules = [
    {
      name         = "index.js"
      content_file = "${var.build_dir}/index.js"
      content_type = "application/javascript+module"
    },
    {
      name         = "index_bg.wasm"
      content_file = "${var.build_dir}/index_bg.wasm"
      content_type = "application/wasm"
    },
  ]

  bindings = [
    {
      name         = "PAGES"
      type         = "kv_namespace"
      namespace_id = cloudflare_workers_kv_namespace.pages.id
    },
    {
      name = "POP_URL"
      type = "plain_text"
      text = var.pop_url
    },
    {
      name = "UPLINK_KEY"
      type = "secret_text"
      text = var.uplink_key
    },
  ]
}

resource "cloudflare_workers_deployment" "storefront" {
  account_id  = var.account_id
  script_name = cloudflare_worker.storefront.name
  strategy    = "percentage"

  versions = [
    {
      version_id = cloudflare_worker_version.storefront.id
      percentage = 100
    },
  ]
}

resource "cloudflare_workers_route" "shop" {
  for_each = var.route_patterns

  zone_id = var.zone_id
  pattern = each.value
  script  = cloudflare_worker.storefront.name

  # A route to a Worker without a deployment answers with an error page.
  depends_on = [cloudflare_workers_deployment.storefront]
}
