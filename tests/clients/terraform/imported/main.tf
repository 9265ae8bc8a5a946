# What `dorainfra apply` has made, taken into Terraform: nothing of it may differ.

provider "google" {
  project                         = "my-gcp"
  region                          = "europe-west1"
  zone                            = "europe-west1-b"
  add_terraform_attribution_label = false
}

import {
  id = "my-gcp-dorainfra-mimir"
  to = google_storage_bucket.blocks
}

import {
  id = "projects/my-gcp/serviceAccounts/dorainfra-mimir@my-gcp.iam.gserviceaccount.com"
  to = google_service_account.mimir
}

import {
  id = "projects/my-gcp/regions/europe-west1/addresses/dorainfra-mimir"
  to = google_compute_address.mimir
}

import {
  id = "projects/my-gcp/zones/europe-west1-b/disks/dorainfra-data"
  to = google_compute_disk.data
}

import {
  id = "projects/my-gcp/regions/europe-west1/resourcePolicies/dorainfra-daily"
  to = google_compute_resource_policy.daily
}

import {
  id = "projects/my-gcp/secrets/dorainfra-server"
  to = google_secret_manager_secret.server
}

import {
  id = "projects/my-gcp/zones/europe-west1-b/instances/dorainfra-mimir"
  to = google_compute_instance.mimir
}

# Terraform cannot write this one's configuration by itself: what it would write is not
# valid for its own provider.
resource "google_compute_instance" "mimir" {
  name                = "dorainfra-mimir"
  machine_type        = "e2-medium"
  deletion_protection = true
  tags                = ["dorainfra-mimir"]
  boot_disk {
    auto_delete = true
    device_name = "boot"
    initialize_params {
      size = 10
      type = "pd-balanced"
    }
  }
  attached_disk {
    source      = "projects/my-gcp/zones/europe-west1-b/disks/dorainfra-data"
    device_name = "data"
  }
  network_interface {
    network = "default"
    access_config {
      network_tier = "PREMIUM"
    }
  }
  service_account {
    email  = "dorainfra-mimir@my-gcp.iam.gserviceaccount.com"
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
  }
  shielded_instance_config {
    enable_secure_boot = true
  }
  lifecycle {
    # Marks, the machine's start and its address: dorainfra's own.
    ignore_changes = [
      labels,
      metadata,
      boot_disk[0].initialize_params[0].image,
      network_interface[0].access_config[0].nat_ip,
    ]
  }
}
