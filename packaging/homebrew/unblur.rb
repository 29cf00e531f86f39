# Draft: see packaging/README.md.
class Unblur < Formula
  include Language::Python::Virtualenv

  desc "Deblur photos, offline, with everything else in the file kept"
  homepage "https://example.invalid" # FILL IN
  url "https://example.invalid/unblur-0.1.0.tar.gz" # FILL IN: the sdist of the release
  sha256 "0000000000000000000000000000000000000000000000000000000000000000" # FILL IN
  license "MIT"

  depends_on "rust" => :build # for safetensors
  depends_on "numpy"
  depends_on "pillow"
  depends_on "python@3.13"
  depends_on "pytorch"

  # FILL IN: `brew update-python-resources unblur` writes what is not a formula of its own:
  # click, fsspec, google-crc32c, jinja2, platformdirs, psutil, requests, rich, safetensors, urllib3,
  # wcmatch, xattr.

  def install
    virtualenv_install_with_resources
    man1.install Dir["man/*.1"]
    generate_completions_from_executable(bin/"unblur", "--completion")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/unblur --version")
    cp test_fixtures("test.jpg"), testpath/"photo.jpg"
    system bin/"unblur", "photo.jpg"
    assert_path_exists testpath/"photo-unblurred.jpg"
  end
end
