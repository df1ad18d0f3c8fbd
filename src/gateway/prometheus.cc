#include "gateway/prometheus.h"

#include <cctype>
#include <cmath>
#include <cstdio>

namespace narke::gateway {

std::string metric_name(std::string name) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != ':') c = '_';
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name.front()))) name = "_" + name;
  return name;
}

static std::string label_name(std::string name) {
  name = metric_name(std::move(name));
  for (char& c : name)
    if (c == ':') c = '_';
  return name;
}

static std::string escaped(const std::string& text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out += c;
  }
  return out;
}

static std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[40];
  std::snprintf(text, sizeof(text), value == std::floor(value) && std::fabs(value) < 1e15 ? "%.0f" : "%.17g", value);
  return text;
}

void MetricText::add_line(Family& family, const std::string& name, double value, const Labels& labels) {
  std::string all;
  for (const Labels* part : {static_cast<const Labels*>(&common_), &labels})
    for (const auto& [key, text] : *part)
      all += (all.empty() ? "" : ",") + label_name(key) + "=\"" + escaped(text, true) + "\"";
  family.lines.push_back(name + (all.empty() ? "" : "{" + all + "}") + " " + number(value));
}

void MetricText::add(const std::string& name, const char* type, const std::string& help, double value,
                     const Labels& labels) {
  Family& family = families_[name];
  family.type = type;
  family.help = help;
  if (labels.empty()) plain_[name] = value;
  add_line(family, name, value, labels);
}

void MetricText::add_histogram(Family& family, const std::string& name, const json::object& series,
                               const json::object& cell, const Labels& labels) {
  const json::value* bounds = series.if_contains("boundaries");
  const json::value* counts = cell.if_contains("buckets");
  if (!bounds || !counts || !bounds->is_array() || !counts->is_array()) return;
  double below = 0;
  for (size_t i = 0; i < counts->get_array().size(); ++i) {
    below += amount_of(counts->get_array()[i]);
    const bool last = i >= bounds->get_array().size();
    Labels with = labels;
    with.emplace_back("le", last ? "+Inf" : number(amount_of(bounds->get_array()[i])));
    add_line(family, name + "_bucket", below, with);
  }
  add_line(family, name + "_sum", cell.contains("sum") ? amount_of(cell.at("sum")) : 0, labels);
  add_line(family, name + "_count", cell.contains("count") ? amount_of(cell.at("count")) : 0, labels);
}

static Labels with_tags(const Labels& labels, const json::object& point) {
  Labels out = labels;
  if (const json::value* tags = point.if_contains("tags"); tags && tags->is_object())
    for (const auto& [key, value] : tags->get_object())
      out.emplace_back(std::string(key), value.is_string() ? std::string(value.get_string()) : json::serialize(value));
  return out;
}

void MetricText::add_user(const json::object& all, const Labels& labels) {
  for (const auto& [key, value] : all) {
    const json::object* series = value.if_object();
    const json::value* points = series ? series->if_contains("points") : nullptr;
    if (points == nullptr || !points->is_array()) continue;
    const std::string kind = text_at(*series, "kind");
    std::string name = "ray_" + metric_name(std::string(key));
    if (kind == "counter" && !name.ends_with("_total")) name += "_total";
    Family& family = families_[name];
    family.type = kind == "counter" ? "counter" : kind == "histogram" ? "histogram" : "gauge";
    family.help = text_at(*series, "description");
    for (const json::value& point : points->get_array()) {
      if (!point.is_object() || !point.get_object().contains("value")) continue;
      const json::value& sample = point.at("value");
      const Labels own = with_tags(labels, point.get_object());
      if (kind == "histogram" && sample.is_object())
        add_histogram(family, name, *series, sample.get_object(), own);
      else
        add_line(family, name, amount_of(sample), own);
    }
  }
}

std::string MetricText::text() const {
  std::string out;
  for (const auto& [name, family] : families_) {
    if (family.lines.empty()) continue;
    out += "# HELP " + name + " " + escaped(family.help, false) + "\n# TYPE " + name + " " + family.type + "\n";
    for (const std::string& line : family.lines) out += line + "\n";
  }
  return out;
}

}  // namespace narke::gateway
