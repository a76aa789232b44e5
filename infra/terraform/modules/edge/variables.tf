variable "account_id" {
  description = "Cloudflare account that the Worker and its namespace belong to."
  type        = string
}

variable "zone_id" {
  description = "Zone whose traffic the Worker answers."
  type        = string
}

variable "name" {
  description = "Name of the Worker; the KV namespace is named after it."
  type        = string
  default     = "meridian"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,62}$", var.name))
    error_message = "Use 1 to 63 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "route_patterns" {
  description = "Routes that lead to the Worker, such as \"shop.example/*\"."
  type        = set(string)

  validation {
    condition     = length(var.route_patterns) > 0
    error_message = "Without a route nobody reaches the Worker."
  }
}

variable "build_dir" {
  description = "Folder that `worker-build --profile worker` wrote: index.js and index_bg.wasm."
  type        = string
}

variable "compatibility_date" {
  description = "Day of the Workers runtime whose behaviour is asked for; the same as in wrangler.toml."
  type        = string
  default     = "2026-04-01"

  validation {
    condition     = can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", var.compatibility_date))
    error_message = "Write the day as YYYY-MM-DD."
  }
}

variable "pop_url" {
  description = "Origin of a point of presence's uplink listener."
  type        = string

  validation {
    condition     = can(regex("^https://[^/]+$", var.pop_url))
    error_message = "Give an https origin without a path."
  }
}

variable "uplink_key" {
  description = "Signs requests to the point of presence: ID:HEX with at least 32 bytes of secret. It ends up in the state, so keep the state encrypted."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9-]{1,32}:[0-9a-fA-F]{64,}$", var.uplink_key))
    error_message = "An uplink key is ID:HEX with at least 32 bytes of secret."
  }
}

variable "log_sampling_rate" {
  description = "Share of requests that are logged, 0 to 1."
  type        = number
  default     = 0.1

  validation {
    condition     = var.log_sampling_rate >= 0 && var.log_sampling_rate <= 1
    error_message = "A share is 0 to 1."
  }
}
