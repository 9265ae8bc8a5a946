# Each kind of resource that dorainfra uses, as somebody who knows Terraform would write it.

variable "machine_type" {
  default = "e2-small"
}

variable "source_ranges" {
  type    = set(string)
  default = ["203.0.113.0/24"]
}

provider "google" {
  project = "my-gcp"
  region  = "europe-west1"
  zone    = "europe-west1-b"
}

locals {
  services = ["compute", "iam", "secretmanager", "cloudresourcemanager"]
}

resource "google_project_service" "api" {
  for_each           = toset(local.services)
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_compute_network" "own" {
  name                    = "tf-network"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.api]
}

resource "google_compute_subnetwork" "own" {
  name                     = "tf-subnet"
  network                  = google_compute_network.own.id
  ip_cidr_range            = "10.9.0.0/24"
  private_ip_google_access = true
}

resource "google_compute_firewall" "mimir" {
  name          = "tf-mimir"
  network       = google_compute_network.own.id
  priority      = 100
  source_ranges = var.source_ranges
  target_tags   = ["mimir"]
  allow {
    protocol = "tcp"
    ports    = ["9009"]
  }
}

resource "google_compute_firewall" "nobody" {
  name          = "tf-nobody"
  network       = google_compute_network.own.id
  priority      = 110
  source_ranges = ["0.0.0.0/0"]
  deny {
    protocol = "all"
  }
}

resource "google_compute_address" "mimir" {
  name       = "tf-mimir"
  depends_on = [google_project_service.api]
}

resource "google_compute_resource_policy" "daily" {
  name = "tf-daily"
  snapshot_schedule_policy {
    schedule {
      daily_schedule {
        days_in_cycle = 1
        start_time    = "03:00"
      }
    }
    retention_policy {
      max_retention_days    = 14
      on_source_disk_delete = "APPLY_RETENTION_POLICY"
    }
  }
  depends_on = [google_project_service.api]
}

resource "google_compute_disk" "data" {
  name       = "tf-data"
  type       = "pd-balanced"
  size       = 20
  depends_on = [google_project_service.api]
}

resource "google_compute_disk_resource_policy_attachment" "daily" {
  name = google_compute_resource_policy.daily.name
  disk = google_compute_disk.data.name
}

resource "google_service_account" "mimir" {
  account_id   = "tf-mimir"
  display_name = "Mimir"
  depends_on   = [google_project_service.api]
}

resource "google_compute_instance" "mimir" {
  name                      = "tf-mimir"
  machine_type              = var.machine_type
  allow_stopping_for_update = true
  tags                      = ["mimir"]
  metadata = {
    enable-oslogin = "TRUE"
  }
  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
      size  = 10
      type  = "pd-balanced"
    }
  }
  attached_disk {
    source      = google_compute_disk.data.id
    device_name = "data"
  }
  network_interface {
    subnetwork = google_compute_subnetwork.own.id
    access_config {
      nat_ip = google_compute_address.mimir.address
    }
  }
  service_account {
    email  = google_service_account.mimir.email
    scopes = ["cloud-platform"]
  }
  shielded_instance_config {
    enable_secure_boot = true
  }
}

resource "google_compute_instance_group" "mimir" {
  name      = "tf-mimir"
  network   = google_compute_network.own.id
  instances = [google_compute_instance.mimir.self_link]
  named_port {
    name = "mimir"
    port = 9009
  }
}

resource "google_compute_region_health_check" "mimir" {
  name = "tf-mimir"
  tcp_health_check {
    port = 9009
  }
  depends_on = [google_project_service.api]
}

resource "google_compute_region_backend_service" "mimir" {
  name                  = "tf-mimir"
  protocol              = "TCP"
  load_balancing_scheme = "EXTERNAL"
  health_checks         = [google_compute_region_health_check.mimir.id]
  backend {
    group          = google_compute_instance_group.mimir.id
    balancing_mode = "CONNECTION"
  }
}

resource "google_compute_address" "balancer" {
  name       = "tf-balancer"
  depends_on = [google_project_service.api]
}

resource "google_compute_forwarding_rule" "mimir" {
  name                  = "tf-mimir"
  load_balancing_scheme = "EXTERNAL"
  ip_address            = google_compute_address.balancer.address
  ports                 = ["9009"]
  backend_service       = google_compute_region_backend_service.mimir.id
}

resource "google_storage_bucket" "blocks" {
  name                        = "my-gcp-tf-blocks"
  location                    = "EUROPE-WEST1"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
}

resource "google_storage_bucket_iam_member" "mimir" {
  bucket = google_storage_bucket.blocks.name
  role   = "roles/storage.objectAdmin"
  member = "serviceAccount:${google_service_account.mimir.email}"
}

resource "google_storage_bucket_object" "bundle" {
  name    = "bundles/one"
  bucket  = google_storage_bucket.blocks.name
  content = "what a machine fetches"
}

resource "google_secret_manager_secret" "server" {
  secret_id = "tf-server"
  replication {
    auto {}
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "server" {
  secret      = google_secret_manager_secret.server.id
  secret_data = "not a secret"
}

resource "google_secret_manager_secret_iam_member" "mimir" {
  secret_id = google_secret_manager_secret.server.id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.mimir.email}"
}
