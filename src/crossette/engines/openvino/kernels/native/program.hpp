// Reads a program: a list of numbers, and constants.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <openvino/core/node.hpp>
#include <openvino/op/constant.hpp>

#include "layers.hpp"

namespace crossette {

using Constant = ov::op::v0::Constant;

inline std::shared_ptr<Constant> constant(const ov::Output<ov::Node>& input) {
    const auto node = ov::as_type_ptr<Constant>(input.get_node_shared_ptr());
    OPENVINO_ASSERT(node, "this input is not constant");
    return node;
}

inline size_t count(const std::shared_ptr<Constant>& floats) {
    OPENVINO_ASSERT(floats->get_element_type() == ov::element::f32);
    return ov::shape_size(floats->get_shape());
}

// A matrix of integers `[outputs, groups, columns of a group]`, scales, and zero points, empty for none: three
// constants.
inline std::shared_ptr<const Panels> matrix(const ov::OutputVector& inputs, size_t first) {
    const auto integers = constant(inputs.at(first)), scales = constant(inputs.at(first + 1)),
               zero_points = constant(inputs.at(first + 2));
    const auto shape = integers->get_shape();
    const auto type = integers->get_element_type();
    OPENVINO_ASSERT(shape.size() == 3 && shape[2] % 16 == 0 && SPAN % shape[2] == 0);
    OPENVINO_ASSERT(type.is_integral_number() && (type.bitwidth() == 4 || type.bitwidth() == 8));
    const size_t groups = shape[0] * shape[1], points = count(zero_points);
    OPENVINO_ASSERT(count(scales) == groups && (points <= 1 || points == groups));
    return std::make_shared<const Panels>(Source{
        shape[0], shape[1] * shape[2], shape[2], unsigned(type.bitwidth()), type.is_signed(),
        static_cast<const uint8_t*>(integers->get_data_ptr()), scales->get_data_ptr<float>(),
        points ? zero_points->get_data_ptr<float>() : nullptr, points == 1});
}

// The numbers are: how many registers are inputs, how many kinds of block tables there are, how many registers there
// are and their widths; and for each instruction its code, of which the order below is the meaning, and its operands.
// Registers are operands by their number, and constants by that of the node's input.
class ProgramReader {
public:
    ProgramReader(const std::vector<int64_t>& numbers, const ov::OutputVector& inputs)
        : _numbers(numbers), _inputs(inputs) {}

    std::shared_ptr<const Program> read() {
        auto program = std::make_shared<Program>();
        program->inputs = next(), program->tables = next();
        program->widths.resize(next());
        for (auto& width : program->widths) width = next();
        OPENVINO_ASSERT(program->inputs > 0 && program->inputs < program->widths.size());
        OPENVINO_ASSERT(program->widths.front() == program->widths.back());
        _program = program.get();
        using Read = std::unique_ptr<const Instruction> (ProgramReader::*)();
        constexpr Read readers[] = {&ProgramReader::multiply, &ProgramReader::normalise, &ProgramReader::add,
                                    &ProgramReader::add_bias, &ProgramReader::scale,     &ProgramReader::slice,
                                    &ProgramReader::rotate,   &ProgramReader::gate,      &ProgramReader::attend,
                                    &ProgramReader::adapt,     &ProgramReader::scale_rows};
        while (_at < _numbers.size()) {
            const size_t code = next();
            OPENVINO_ASSERT(code < std::size(readers), "unknown instruction");
            program->instructions.push_back((this->*readers[code])());
        }
        return program;
    }

private:
    size_t next() {
        OPENVINO_ASSERT(_at < _numbers.size() && _numbers[_at] >= 0);
        return static_cast<size_t>(_numbers[_at++]);
    }

    // A register, of this width if one is given.
    size_t place(size_t width = 0) {
        const size_t number = next();
        OPENVINO_ASSERT(number < _program->widths.size() && (!width || _program->widths[number] == width));
        return number;
    }
    size_t width(size_t number) const { return _program->widths[number]; }

    Vector vector() {
        const auto floats = constant(_inputs.at(next()));
        return Vector(floats->get_data_ptr<float>(), floats->get_data_ptr<float>() + count(floats));
    }
    float number() {
        const Vector numbers = vector();
        OPENVINO_ASSERT(numbers.size() == 1);
        return numbers[0];
    }

    std::unique_ptr<const Instruction> multiply() {
        auto made = std::make_unique<Multiply>();
        made->from = place();
        for (size_t left = next(); left > 0; left--) {
            const auto panels = matrix(_inputs, next());
            OPENVINO_ASSERT(panels->columns == width(made->from));
            made->targets.push_back({panels, place(panels->outputs)});
        }
        OPENVINO_ASSERT(!made->targets.empty());
        return made;
    }

    std::unique_ptr<const Instruction> normalise() {
        auto made = std::make_unique<Normalise>();
        made->from = place(), made->width = width(made->from), made->to = place(made->width);
        made->weights = vector(), made->epsilon = number();
        OPENVINO_ASSERT(!made->weights.empty() && made->width % made->weights.size() == 0);
        return made;
    }

    std::unique_ptr<const Instruction> add() {
        auto made = std::make_unique<Add>();
        made->first = place(), made->width = width(made->first);
        made->second = place(made->width), made->to = place(made->width);
        return made;
    }

    std::unique_ptr<const Instruction> add_bias() {
        auto made = std::make_unique<AddBias>();
        made->from = place(), made->to = place(width(made->from)), made->bias = vector();
        OPENVINO_ASSERT(made->bias.size() == width(made->from));
        return made;
    }

    std::unique_ptr<const Instruction> scale() {
        auto made = std::make_unique<Scale>();
        made->from = place(), made->width = width(made->from), made->to = place(made->width), made->factor = number();
        return made;
    }

    std::unique_ptr<const Instruction> scale_rows() {
        auto made = std::make_unique<ScaleRows>();
        made->from = place(), made->width = width(made->from), made->to = place(made->width), made->factors = place(1);
        return made;
    }

    std::unique_ptr<const Instruction> slice() {
        auto made = std::make_unique<Slice>();
        made->from = place(), made->of = width(made->from);
        made->to = place(), made->width = width(made->to), made->begin = next();
        OPENVINO_ASSERT(made->begin + made->width <= made->of);
        return made;
    }

    std::unique_ptr<const Instruction> rotate() {
        auto made = std::make_unique<Rotate>();
        made->from = place(), made->width = width(made->from), made->to = place(made->width);
        made->head = next(), made->rotated = next();
        made->cosines = place(made->rotated), made->sines = place(made->rotated);
        OPENVINO_ASSERT(made->rotated % 2 == 0 && made->rotated <= made->head && made->width % made->head == 0);
        return made;
    }

    std::unique_ptr<const Instruction> gate() {
        auto made = std::make_unique<Gate>();
        made->gate = place(), made->width = width(made->gate);
        made->up = place(made->width), made->to = place(made->width), made->gelu = next() != 0;
        OPENVINO_ASSERT(made->width % LANES == 0);
        return made;
    }

    std::unique_ptr<const Instruction> attend() {
        auto made = std::make_unique<Attend>();
        made->queries = place(), made->width = width(made->queries);
        made->columns = next(), made->heads = next();
        made->keys = place(made->heads * made->columns), made->values = place(made->heads * made->columns);
        made->to = place(made->width);
        made->cache = made->tables = next();
        OPENVINO_ASSERT(made->tables < _program->tables);
        made->key_head = next(), made->value_head = next();
        made->scale = number(), made->window = next();
        OPENVINO_ASSERT(made->columns % 8 == 0 && made->columns <= LARGEST_HEAD);
        OPENVINO_ASSERT(made->heads && made->width % (made->heads * made->columns) == 0);
        return made;
    }

    std::unique_ptr<const Instruction> adapt() {
        auto made = std::make_unique<Adapt>();
        made->from = place(), made->columns = width(made->from);
        made->product = place(), made->width = width(made->product), made->to = place(made->width);
        made->scales = place(), made->ranks = width(made->scales);
        made->down = vector();
        const Vector up = vector();
        OPENVINO_ASSERT(made->down.size() == made->ranks * made->columns && up.size() == made->width * made->ranks);
        made->up.resize(up.size());
        for (size_t column = 0; column < made->width; column++)
            for (size_t rank = 0; rank < made->ranks; rank++)
                made->up[rank * made->width + column] = up[column * made->ranks + rank];
        return made;
    }

    const std::vector<int64_t>& _numbers;
    const ov::OutputVector& _inputs;
    const Program* _program = nullptr;
    size_t _at = 0;
};

}  // namespace crossette
